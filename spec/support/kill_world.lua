-- The world of a job whose process is killed: the rows of each operation, the service with its faults, and a check of
-- the report that knows nothing of how jobs work: only the rows, the service's record of requests and its cards.
--
-- What happens to a card depends on its class, which is its value without a number at the end.
local world = {}

-- When a late request is performed, and how long the program waits for it, in seconds. With the longer times it is
-- still late when the next process has begun.
local IS_LONG = os.getenv("LEAT_KILLS") ~= nil
world.late, world.settle = IS_LONG and 0.5 or 0.15, IS_LONG and 1 or 0.3

local ANN, BOB = "u-ann", "u-bob"
world.BOB = BOB
world.OTHERS = "somebody else" -- the User-Agent of requests which are not the job's

-- What is counted of the requests of a row is in the record. It is not if the network loses requests.
world.is_counted = true

-- The cards of each row are named by what is wrong with the first request that changes them.
local NAMES = { "lost", "late", "503", "429", "fine", "fine-2" }
world.names = NAMES

local function class_of(value)
  return value:match("^(.-)%-%d+$") or value
end

local function all(fields)
  local list = {}
  for i, name in ipairs(NAMES) do
    list[i] = { value = name }
    for key, value in pairs(fields) do
      list[i][key] = value
    end
  end
  return list
end

local function with(list, ...)
  for _, row in ipairs { ... } do
    list[#list + 1] = row
  end
  return list
end

world.rows = {
  ensure = with(all { contact_uuid = ANN }, { value = "mail", contact_email = "ann@example.org" },
    { value = "there", contact_uuid = ANN }, { value = "there-unlinked", contact_uuid = ANN }),
  create = with(all { contact_uuid = ANN, name = "A card" }, { value = "there", contact_uuid = ANN },
    { value = "there-of-bob", contact_uuid = ANN }),
  link = with(all { contact_uuid = ANN }, { value = "there", contact_uuid = ANN }, { value = "missing",
    contact_uuid = ANN }),
  unlink = with(all {}, { value = "there", expect = ANN }, { value = "there-of-bob", expect = ANN }),
  update = with(all { name = "New" }, { value = "there", active = false }, { value = "missing", name = "New" }),
  delete = with(all {}, { value = "there", expect = ANN }, { value = "there-of-bob", expect = ANN }),
  find = with(all {}, { value = "there" }, { value = "missing" }),
}
world.operations = { "ensure", "create", "link", "unlink", "update", "delete", "find" }

local SPECIAL = 5 -- one of so many rows is not fine, where there are many

--- Returns many rows for an operation.
function world.many(operation, count)
  local kinds, list, k = {}, {}, 0
  for _, row in ipairs(world.rows[operation]) do
    kinds[#kinds + 1] = class_of(row.value) ~= "fine" and row or nil
  end
  for i = 1, count do
    local is_special = i % SPECIAL == 0
    k = (k + (is_special and 1 or 0)) % #kinds
    list[i] = {}
    for key, value in pairs(is_special and kinds[k + 1] or kinds[1]) do
      list[i][key] = value
    end
    list[i].value = ("%s-%05d"):format(is_special and kinds[k + 1].value or "fine", i)
  end
  return list
end

-- What each row must lead to; the others succeed. The second is possible only if the process was killed: nobody can
-- know then that the card is not ours.
local EXPECTED = {
  ensure = { there = { "existed", "recovered" }, ["there-unlinked"] = { "existed", "recovered" } },
  create = { there = { "failed already_exists", "recovered" },
    ["there-of-bob"] = { "failed already_exists", "unknown conflict" } },
  link = { there = { "existed", "recovered" }, missing = { "failed not_found", "unknown not_found" } },
  unlink = { ["there-of-bob"] = { "failed conflict" } },
  update = { missing = { "failed not_found", "unknown not_found" } },
  delete = { ["there-of-bob"] = { "failed conflict" } },
  find = { missing = { "failed not_found" } },
}
local SUCCESS = { ensure = "created", create = "created", link = "linked", unlink = "unlinked", update = "updated",
  delete = "deleted", find = "found" }
-- The requests that may change a card, by operation.
local CHANGES = { ensure = { create = true, link = true, update = true }, create = { create = true },
  link = { link = true }, unlink = { unlink = true }, update = { update = true }, delete = { delete = true },
  find = {} }
local NOT_REPEATED = { unlink = true, delete = true }

-- ---- the service ------------------------------------------------------------------------

-- The contacts of the cards that are there, by class; false: none. A card of another class is there if the operation
-- changes or finds it.
local OWNERS = { there = ANN, ["there-of-bob"] = BOB, ["there-unlinked"] = false, bystander = ANN }

local function card_of(operation, value)
  local class = class_of(value)
  if OWNERS[class] ~= nil then
    return { value = value, contact_uuid = OWNERS[class] or nil }
  elseif operation ~= "ensure" and operation ~= "create" and class ~= "missing" then
    return { value = value, contact_uuid = operation ~= "link" and ANN or nil }
  end
end

-- Returns what is wrong with a request for a card of a class, or nil.
local function fault_of(operation, class, slow)
  if class == "lost" then
    return { apply = true, close = "before" }
  elseif class == "late" then
    return { apply_after = operation ~= "find" and world.late or nil, close = "before" }
  elseif class == "503" or class == "429" then
    return { status = tonumber(class) }
  end
  return slow and class == "fine" and { delay = 1 } or nil
end

--- Returns the options of a sandbox for an operation. With `slow` the response to one request takes a second.
function world.service(operation, slow, rows)
  local request = operation == "ensure" and "create" or operation
  local cards, faults, values = {}, {}, { "bystander" }
  for _, row in ipairs(rows or world.rows[operation]) do
    values[#values + 1] = row.value
  end
  for _, value in ipairs(values) do
    local fault = fault_of(operation, class_of(value), slow and value == "fine")
    cards[#cards + 1] = card_of(operation, value)
    if fault then
      fault.operation, fault.value = request, value
      faults[#faults + 1] = fault
    end
  end
  return { contacts = { { uuid = ANN, email = "ann@example.org" }, { uuid = BOB } }, cards = cards, faults = faults }
end

-- ---- the record -------------------------------------------------------------------------

local function value_of(request)
  return request.target:match("contact_identifier_value=([^&]*)")
    or request.body:match('"contact_identifier_value":"([^"]*)"')
end

-- Returns the requests for each card, in the order in which they arrived.
local function by_card(requests)
  local cards = {}
  for _, request in ipairs(requests) do
    local value = request.operation and value_of(request)
    if value then
      cards[value] = cards[value] or {}
      table.insert(cards[value], request)
    end
  end
  return cards
end

local function by_value(list)
  local cards = {}
  for _, card in ipairs(list) do
    cards[card.value] = card
  end
  return cards
end

local function is_of_others(request)
  return request.headers["User-Agent"] == world.OTHERS
end

local function without_others(requests)
  local list = {}
  for _, request in ipairs(requests) do
    if not is_of_others(request) then
      list[#list + 1] = request
    end
  end
  return list
end

local function count_changes(requests, operation)
  local count, strange = 0, nil
  for _, request in ipairs(requests) do
    count = count + (request.changed and 1 or 0)
    if request.operation ~= "find" and not CHANGES[operation][request.operation] then
      strange = request.operation
    end
  end
  return count, strange
end

-- An unlink or delete may be sent again only after a find, and if the one before it was refused. 503 and 429 are the
-- only responses to requests which were not performed.
local function find_repetition(requests)
  local sent, found
  for _, request in ipairs(requests) do
    if request.operation == "find" then
      found = true
    elseif NOT_REPEATED[request.operation] then
      if sent and not found then
        return "sent again without a find"
      elseif sent and not (sent.status == 503 or sent.status == 429) then
        return "sent again although the one before it was performed"
      end
      sent, found = request, false
    end
  end
end

-- ---- the cards --------------------------------------------------------------------------

local function contact_of(card)
  return card and card.contact and card.contact.uuid
end

local SHOULD_BE = {}

function SHOULD_BE.ensure(card)
  return contact_of(card) == ANN
end
function SHOULD_BE.create(card, row)
  return contact_of(card) == ANN and (class_of(row.value) == "there" or card.name == row.name)
end
SHOULD_BE.link = SHOULD_BE.ensure
function SHOULD_BE.unlink(card)
  return card and not card.contact
end
function SHOULD_BE.update(card, row)
  return card and (not row.name or card.name == row.name) and (row.active == nil or card.active == row.active)
end
function SHOULD_BE.delete(card)
  return card == nil
end
function SHOULD_BE.find(card)
  return card ~= nil
end

-- ---- the check --------------------------------------------------------------------------

-- Returns the index of the request by which somebody else gave the card away, or nil.
local function find_taking(requests)
  local taken
  for i, request in ipairs(requests) do
    taken = is_of_others(request) and request.changed and i or taken
  end
  return taken
end

--- Returns how many cards somebody else gave away.
function world.count_taken(service)
  local count = 0
  for _, requests in pairs(by_card(service:requests())) do
    count = count + (find_taking(requests) and 1 or 0)
  end
  return count
end

-- Checks a row whose card somebody else gave away after the job had changed it. The job may look at the card once
-- more, and then it must see that; but it must not send anything else.
local function doubt_taken(operation, outcome, requests, taken, card)
  local changes, looks, sees = 0, 0, false
  for i, request in ipairs(requests) do
    local is_own, is_find = not is_of_others(request), request.operation == "find"
    changes = changes + (is_own and request.changed and 1 or 0)
    looks = looks + (is_own and is_find and changes > 0 and 1 or 0)
    sees = sees or is_own and i > taken
    if is_own and not is_find and i > taken then
      return "sent although the card has another owner"
    end
  end
  if sees and outcome ~= "unknown conflict" and outcome ~= "unknown changed_afterwards" then
    return "the card was given away"
  elseif not sees and outcome ~= SUCCESS[operation] and not (outcome == "recovered" and looks > 0) then
    return "the job did not look at the card"
  elseif changes ~= 1 then
    return changes .. " requests of the job changed the card"
  elseif contact_of(card) ~= BOB then
    return "the card's next owner lost it"
  end
end

local function describe(requests)
  local list = {}
  for i, request in ipairs(requests) do
    list[i] = ("%s %s%s%s"):format(request.operation, request.status or "-", request.changed and " changed" or "",
      request.fault and " fault " .. request.fault or "")
  end
  return table.concat(list, ", ")
end

-- Returns whether a response said that the card was changed.
local function was_confirmed(requests)
  for _, request in ipairs(requests) do
    if request.changed and request.status and request.status < 300 then
      return true
    end
  end
  return false
end

-- The cards of which a response is lost even if the process is not killed.
local LOST = { lost = true, late = true }

-- Returns what is wrong with an outcome of a card that the job changed by `requests`, or nil.
local function doubt(operation, row, outcome, requests, killed)
  local class, changes = class_of(row.value), count_changes(requests, operation)
  local expected = EXPECTED[operation][class]
  if expected then
    return not (outcome == expected[1] or killed and outcome == expected[2]) and "not " .. expected[1] or nil
  elseif operation == "find" then
    return outcome ~= "found" and "not found" or nil
  elseif outcome ~= SUCCESS[operation] and not (outcome == "recovered" and (killed or LOST[class])) then
    return "not " .. SUCCESS[operation]
  elseif changes ~= 1 and operation ~= "update" then
    return changes .. " requests changed the card"
  end
end

-- The requests of a row that were counted are in the record, unless the process died before it counted them.
local function doubt_count(row, count, requests, killed)
  if row.contact_email or not world.is_counted then
    return nil -- requests for the contact do not name the card
  elseif count > #requests or not killed and count < #requests then
    return ("%d requests were reported"):format(count)
  end
end

local function doubt_row(operation, row, result, outcome, requests, card, killed)
  local taken, own = find_taking(requests), without_others(requests)
  local changes, strange = count_changes(own, operation)
  local wrong = strange and "a " .. strange or find_repetition(own) or doubt_count(row, result.requests, own, killed)
  if wrong then
    return wrong
  elseif operation ~= "find" and operation ~= "update" and outcome == SUCCESS[operation] and not was_confirmed(own) then
    return "no response said so"
  elseif taken then
    return doubt_taken(operation, outcome, requests, taken, card)
  elseif not outcome:find(" ", 1, true) and not SHOULD_BE[operation](card, row) then
    return "the card is not as reported"
  elseif outcome:find(" ", 1, true) and changes > 0 then
    return "the card was changed"
  end
  return doubt(operation, row, outcome, own, killed)
end

local function check_row(operation, row, result, requests, card, killed)
  local outcome = result.outcome .. (result.kind and " " .. result.kind or "")
  local wrong = doubt_row(operation, row, result, outcome, requests, card, killed)
  return wrong and ("%s %s: %s: %s (%s)"):format(operation, row.value, outcome, wrong, describe(requests))
end

-- Compares the file of results with the journal.
local function check_file(lines, results)
  if #lines ~= #results then
    return ("the file has %d rows of %d"):format(#lines, #results)
  end
  for i, result in ipairs(results) do
    local line = lines[i]
    if line[2] ~= result.value or line[4] ~= result.outcome or line[5] ~= (result.kind or "") then
      return ("row %d of the file is %s %s %s"):format(i, line[2], line[4], line[5])
    end
  end
end

local function check_counts(job, results)
  local counts = { done = 0, failed = 0, unknown = 0 }
  for _, result in ipairs(results) do
    if not counts[result.state] then
      return ("row %d is %s"):format(result.line, result.state)
    end
    counts[result.state] = counts[result.state] + 1
  end
  for state, count in pairs(counts) do
    if job[state] ~= count then
      return ("the job counts %d rows as %s, and there are %d"):format(job[state], state, count)
    end
  end
end

-- Returns what is wrong after a job has finished, or nil. `results` are the rows of the journal, `lines` those of the
-- file of results; `killed`: its process was killed, or lost its journal, at least once; `rows`: if there are many.
function world.find_fault(operation, job, results, lines, service, killed, rows)
  local requests, cards = by_card(service:requests()), by_value(service:cards())
  rows = rows or world.rows[operation]
  if job.state ~= "finished" then
    return "the job is " .. job.state
  elseif #results ~= #rows then
    return ("%d rows of %d"):format(#results, #rows)
  end
  local wrong = check_counts(job, results) or check_file(lines, results)
  for i, row in ipairs(rows) do
    if results[i].value ~= row.value then
      return "the rows are in another order"
    end
    wrong = wrong or check_row(operation, row, results[i], requests[row.value] or {}, cards[row.value], killed)
  end
  return wrong or requests.bystander and "another card was touched" or nil
end

return world
