-- The world of a job whose process is killed: the rows of each operation, the service with its faults, and a check of
-- the report that knows nothing of how jobs work: only the rows, the service's record of requests and its cards.
local world = {}

local ANN, BOB = "u-ann", "u-bob"

-- The cards of each row are named by what is wrong with the first request that changes them.
local NAMES = { "lost", "late", "503", "429", "fine", "fine-2" }

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

local function cards_of(operation)
  local list = { { value = "there", contact_uuid = ANN }, { value = "there-of-bob", contact_uuid = BOB },
    { value = "there-unlinked" }, { value = "bystander", contact_uuid = ANN } }
  if operation ~= "ensure" and operation ~= "create" then
    for _, name in ipairs(NAMES) do
      list[#list + 1] = { value = name, contact_uuid = operation ~= "link" and ANN or nil }
    end
  end
  return list
end

-- Returns the options of a sandbox for an operation. With `slow` the response to one request takes a second.
function world.service(operation, slow)
  local request = operation == "ensure" and "create" or operation
  local fault = function(value, fields)
    fields.operation, fields.value = request, value
    return fields
  end
  return { contacts = { { uuid = ANN, email = "ann@example.org" }, { uuid = BOB } }, cards = cards_of(operation),
    faults = { fault("lost", { apply = true, close = "before" }),
      fault("late", { apply_after = operation ~= "find" and 0.15 or nil, close = "before" }),
      fault("503", { status = 503 }), fault("429", { status = 429 }), slow and fault("fine", { delay = 1 }) or nil } }
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
  return contact_of(card) == ANN and (row.value == "there" or card.name == row.name)
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

local function describe(requests)
  local list = {}
  for i, request in ipairs(requests) do
    list[i] = ("%s %s%s%s"):format(request.operation, request.status or "-", request.changed and " changed" or "",
      request.fault and " fault " .. request.fault or "")
  end
  return table.concat(list, ", ")
end

-- Returns what is wrong with an outcome of a card that `changes` requests changed, or nil.
local function doubt(operation, row, outcome, changes, killed)
  local expected = EXPECTED[operation][row.value]
  if expected then
    return not (outcome == expected[1] or killed and outcome == expected[2]) and "not " .. expected[1] or nil
  elseif outcome ~= SUCCESS[operation] and not (outcome == "recovered" and operation ~= "find") then
    return "not " .. SUCCESS[operation]
  elseif changes ~= 1 and operation ~= "find" and operation ~= "update" then
    return changes .. " requests changed the card"
  end
end

local function check_row(operation, row, result, requests, card, killed)
  local outcome = result.outcome .. (result.kind and " " .. result.kind or "")
  local changes, strange = count_changes(requests, operation)
  local wrong = strange and "a " .. strange or find_repetition(requests)
    or doubt(operation, row, outcome, changes, killed)
  local failed = outcome:find(" ", 1, true)
  if not wrong and not failed and not SHOULD_BE[operation](card, row) then
    wrong = "the card is not as reported"
  elseif not wrong and failed and changes > 0 then
    wrong = "the card was changed"
  elseif not wrong and result.requests > #requests + (row.contact_email and 20 or 0) then
    wrong = ("%d requests were reported"):format(result.requests)
  end
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
-- file of results; `killed`: its process was killed, or lost its journal, at least once.
function world.find_fault(operation, job, results, lines, service, killed)
  local rows, requests = world.rows[operation], by_card(service:requests())
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
    wrong = wrong or check_row(operation, row, results[i], requests[row.value] or {}, service:card(row.value), killed)
  end
  return wrong or requests.bystander and "another card was touched" or nil
end

return world
