--- Renders what clients have counted as text for Prometheus, and other programs that read its format.
--
-- Every client counts its calls and requests; nothing has to be switched on. Any web server can print the text:
--
--    local prometheus = require("leat.prometheus")
--    local client = leat.new { api_key = key }
--    client.contact_identifiers:find("0042")
--    local page = prometheus.text(client, { labels = { shop = "harbour" } })
--    assert(page:find('leat_calls_total{shop="harbour",operation="contact_identifiers.find",kind="ok"} 1\n', 1, true))
--
-- In nginx with `shared`, the numbers are those of all workers: a worker adds its own within about a second. Clients
-- with the same `shared` and the same credential are then counted as one. Otherwise the numbers are those of the client
-- in this process. They begin with 0 when it is made.
--
-- The text contains no key and no card's value. The guide `docs/metrics.md` describes each metric.
-- @module leat.prometheus

local classes = require("leat.resource").classes
local schema = require("leat.options")

local prometheus = {
  --- The text's type, for the header `Content-Type`.
  content_type = "text/plain; version=0.0.4; charset=utf-8",
}

-- ---- numbers and labels -----------------------------------------------------------------

-- The formats have no decimal point, which would depend on the locale.

local function whole(number)
  return ("%.0f"):format(number)
end

local function seconds(ms)
  return ("%.0f.%03d"):format(math.floor(ms / 1000), ms % 1000)
end

local escapes = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

-- Returns `name="value",name="value"` for a list of names and values.
local function write_labels(list)
  local texts = {}
  for i = 1, #list, 2 do
    texts[#texts + 1] = ('%s="%s"'):format(list[i], (list[i + 1]:gsub('[\\"\n]', escapes)))
  end
  return table.concat(texts, ",")
end

-- ---- metrics ----------------------------------------------------------------------------

-- A metric consists of its name, type and help, and of a function that calls add(value, labels) for each of its
-- samples. `known` is what is known of a client.

local function label_words(words, names)
  local labels = {}
  for word in words:gmatch("%S+") do
    labels[#labels + 1] = names[#labels / 2 + 1]
    labels[#labels + 1] = word
  end
  return labels
end

-- Returns the function for what a client counts under names that begin with `what`. The other words are the labels.
local function counted(what, write, names)
  return function(known, add)
    for name, number in pairs(known.counts) do
      local words = name:match("^" .. what .. " (.*)$")
      if words then
        add(write(number), label_words(words, names))
      end
    end
  end
end

-- Returns the function for a number of the cache.
local function cached(name)
  return function(known, add)
    if known.cache then
      add(whole(known.cache[name] or 0), {})
    end
  end
end

local function finds(known, add)
  for result, name in pairs { hit = "hits", negative_hit = "negative_hits", stale = "stale", miss = "misses" } do
    if known.cache then
      add(whole(known.cache[name] or 0), { "result", result })
    end
  end
end

-- Returns the function for the time of an event, of which `health` tells how long ago it was.
local function time_of(name)
  return function(known, add)
    if known.health[name] then
      add(whole(known.unix - known.health[name]), {})
    end
  end
end

-- Returns the function for a number of the rate limit that the service reported, if it did.
local function limit(name)
  return function(known, add)
    if known.rate_limit and known.rate_limit[name] then
      add(whole(known.rate_limit[name]), {})
    end
  end
end

local METRICS = {
  { "leat_calls_total", "counter", "Calls that ended, by operation and kind of error.",
    counted("calls", whole, { "operation", "kind" }) },
  { "leat_attempts_total", "counter", "HTTP requests that ended, by their call's operation, purpose and kind of error.",
    counted("attempts", whole, { "operation", "purpose", "kind" }) },
  { "leat_queue_seconds_total", "counter", "Time that calls waited before they were sent, by what they waited for.",
    counted("queue", seconds, { "reason" }) },
  { "leat_finds_total", "counter", "Finds of a client with a cache, by what the cache had.", finds },
  { "leat_coalesced_finds_total", "counter", "Misses that shared the request of another find.", cached("coalesced") },
  { "leat_rescued_finds_total", "counter", "Misses that got an old card because the service did not respond.",
    cached("rescued") },
  { "leat_refused_refreshes_total", "counter", "Refreshes of cached cards that found no free slot of the rate.",
    cached("refused_refreshes") },
  { "leat_outrun_responses_total", "counter", "Responses that were not cached because the card was changed meanwhile.",
    cached("outrun") },
  { "leat_unstored_responses_total", "counter", "Responses that were not cached because there was no room.",
    cached("not_stored") },
  { "leat_healthy", "gauge", "Whether the client works, as far as its calls have shown: 1 or 0.",
    function(known, add) add(known.health.ok and "1" or "0", {}) end },
  { "leat_last_success_timestamp_seconds", "gauge", "When a call last worked.", time_of("last_success") },
  { "leat_last_failure_timestamp_seconds", "gauge", "When a call last failed.", time_of("last_failure") },
  { "leat_pause_seconds", "gauge", "Time that is left of the pause that the service asked for.",
    function(known, add) add(seconds(math.floor((known.health.paused or 0) * 1000)), {}) end },
  { "leat_rate_limit_requests", "gauge", "Requests that the service allows, as it last reported.", limit("limit") },
  { "leat_rate_limit_remaining_requests", "gauge", "Requests of these that are left, as the service last reported.",
    limit("remaining") },
}

-- The labels that metrics have already.
local taken = { operation = true, purpose = true, kind = true, reason = true, result = true }

-- ---- rendering --------------------------------------------------------------------------

-- The counts of a client that never waited have its queues all the same, with 0.
local QUEUES = { "queue connection", "queue token", "queue slot", "queue pause" }

local function ask(entry)
  local client = entry.client
  local counts = client.hooks.counted:counts()
  for _, name in ipairs(QUEUES) do
    counts[name] = counts[name] or 0
  end
  return { counts = counts, cache = client:cache_stats(), health = client:health(), rate_limit = client:rate_limit(),
    unix = os.time(), labels = entry.labels }
end

-- Adds the lines of a metric, if there are any.
local function render(lines, metric, clients)
  local name, samples = metric[1], {}
  for _, known in ipairs(clients) do
    metric[4](known, function(value, labels)
      local text = write_labels(labels)
      text = known.labels .. (known.labels ~= "" and text ~= "" and "," or "") .. text
      samples[#samples + 1] = name .. (text ~= "" and "{" .. text .. "}" or "") .. " " .. value
    end)
  end
  if #samples > 0 then
    table.sort(samples)
    lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s %s\n"):format(name, metric[3], name, metric[2])
    lines[#lines + 1] = table.concat(samples, "\n") .. "\n"
  end
end

-- ---- arguments --------------------------------------------------------------------------

-- Everything that is a character of more than one byte in UTF-8.
local CHARACTERS = { "[\194-\223][\128-\191]", "\224[\160-\191][\128-\191]", "\237[\128-\159][\128-\191]",
  "[\225-\236\238\239][\128-\191][\128-\191]", "\240[\144-\191][\128-\191][\128-\191]",
  "\244[\128-\143][\128-\191][\128-\191]", "[\241-\243][\128-\191][\128-\191][\128-\191]" }

local function is_utf8(text)
  for _, character in ipairs(CHARACTERS) do
    text = text:gsub(character, " ")
  end
  return not text:find("[\128-\255]")
end

-- Returns what is wrong with a label, or nil.
local function wrong_label(name, value)
  if type(name) ~= "string" or not name:find("^[A-Za-z_][A-Za-z0-9_]*$") or name:find("^__") then
    return ("'%s' cannot be the name of a label"):format(tostring(name))
  elseif taken[name] then
    return ("the metrics have labels '%s' of their own"):format(name)
  elseif type(value) ~= "string" or value == "" or not is_utf8(value) then
    return ("the label '%s' must be a string in UTF-8, and not empty"):format(name)
  end
end

-- Returns the labels as text; or nil and what is wrong.
local function check_labels(labels)
  local names, list = {}, {}
  for name, value in pairs(labels) do
    local wrong = wrong_label(name, value)
    if wrong then
      return nil, wrong
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    list[#list + 1] = name
    list[#list + 1] = labels[name]
  end
  return write_labels(list)
end

local function is_client(value)
  return type(value) == "table" and getmetatable(value) == classes.client
end

-- Returns a list of clients with their labels as text; or nil and what is wrong.
local function check_entries(entries)
  local checked, seen = {}, {}
  for i, entry in ipairs(entries) do
    if not is_client(entry.client) then
      return nil, "client must be a client, as leat.new returns it"
    end
    local labels, wrong = check_labels(entry.labels or {})
    if not labels then
      return nil, wrong
    elseif seen[labels] then
      return nil, "two clients have the same labels: give each a label of its own"
    end
    seen[labels] = true
    checked[i] = { client = entry.client, labels = labels }
  end
  return checked
end

--- Renders the metrics of a client, or of several, as one page. It sends nothing, and takes less than a millisecond.
-- @tparam client|table clients a client; or a list of tables, each with a `client` and its `labels`, which must differ
-- @tparam[opt] table options with one client, the options:
-- @tparam[opt=none] table options.labels labels that every metric gets, `{ name = value }`. Both are strings
-- @treturn string the text, which ends with a line end
-- @raise mistakes in the arguments
function prometheus.text(clients, options)
  if type(clients) ~= "table" then
    error("leat.prometheus.text: give a client, or a list: { { client = client, labels = { ... } }, ... }", 2)
  elseif is_client(clients) then
    options = schema.check("leat.prometheus.text", { labels = "table" }, options or {}, 2)
    clients = { { client = clients, labels = options.labels } }
  elseif options ~= nil then
    error("leat.prometheus.text: the labels of several clients belong into their list", 2)
  end
  local entries = schema.check_list("leat.prometheus.text", { client = "any", labels = "table" }, clients, 2)
  local checked, wrong = check_entries(entries)
  if not checked then
    error("leat.prometheus.text: " .. wrong, 2)
  end
  local lines, known = {}, {}
  for i, entry in ipairs(checked) do
    known[i] = ask(entry)
  end
  for _, metric in ipairs(METRICS) do
    render(lines, metric, known)
  end
  return table.concat(lines)
end

return prometheus --[[@as leat.prometheus]]
