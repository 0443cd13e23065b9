-- A small world for one item of a job: a service with one card, other clients that change it, requests whose
-- responses are lost and which may take effect late, processes that die, and a worker that does what decide says. It
-- knows what really happened, and so it can tell whether each step is safe and each report is true. `choose(n)`
-- returns a number from 1 to n for each thing that may go one way or another; 1 means that nothing goes wrong.
local world = {}
world.__index = world

local VALUE, LIMIT = "X", 12

-- ---- the service ------------------------------------------------------------------------

local function copy(card)
  return card and { contact = card.contact, name = card.name, active = card.active }
end

local requests = {}

function requests.create(card, ask)
  if card then return card, "already_exists" end
  return { contact = ask.contact_uuid, name = ask.name or VALUE, active = true }
end

function requests.link(card, ask)
  if card.contact then return card, "already_linked" end
  card.contact = ask.contact_uuid
  return card
end

function requests.unlink(card)
  if not card.contact then return card, "not_linked" end
  card.contact = nil
  return card
end

function requests.update(card, ask)
  card.name = ask.name or card.name
  if ask.active ~= nil then card.active = ask.active end
  return card
end

function requests.delete()
  return nil
end

local NEEDS_ACTIVE = { link = true, unlink = true }

-- Applies a request to the card; returns the kind of the error, or nil.
function world:apply(name, ask)
  local card = copy(self.card)
  if not card and name ~= "create" then
    return "not_found"
  elseif card and not card.active and NEEDS_ACTIVE[name] then
    return "inactive"
  end
  local new, kind = requests[name](card, ask)
  if not kind then
    self.card, self.applied = new, self.applied + 1
    self.created = self.created or name == "create"
    self.linked = self.linked or name == "link"
  end
  return kind
end

-- What was sent and has not arrived yet arrives.
function world:land()
  local late = self.late
  self.late = {}
  for _, one in ipairs(late) do
    self:apply(one.name, one.ask)
  end
end

-- ---- other clients ----------------------------------------------------------------------

local others = {
  function(card) if card then card.contact = nil end return card end,
  function(card) if card then card.contact = "third" end return card end,
  function(card) if card then card.name = "Other" end return card end,
  function(card) if card then card.active = not card.active end return card end,
  function() return nil end,
  function(card) return card or { name = VALUE, active = true } end,
  function() return { name = VALUE, active = true, contact = "third" } end,
}

function world:let_others_act()
  if self.others_left == 0 then return end
  local which = self.choose(#others + 1) - 1
  if which > 0 then
    self.others_left = self.others_left - 1
    self.card, self.found = others[which](copy(self.card)), false
  end
end

-- ---- exchanges --------------------------------------------------------------------------

local function failure(kind, lost)
  return { kind = kind, outcome_unknown = lost or false, message = kind, attempts = 1 }
end

local CRASH = {}

local function crash()
  error(CRASH, 0)
end

local find_faults = {
  function() return failure("timeout") end,
  function() return failure("forbidden") end,
  crash,
}

-- What may become of a request: each returns an error or dies.
local write_faults = {
  function() return failure("connection") end,
  function() return failure("unauthorized") end,
  function(self, name, ask) self:apply(name, ask) return failure("timeout", true) end,
  function(self, name, ask) self:apply(name, ask) return failure("too_large", true) end,
  function() return failure("maintenance", true) end,
  function(self, name, ask)
    self.late[#self.late + 1] = { name = name, ask = ask }
    return failure("canceled", true)
  end,
  crash,
  function(self, name, ask) self:apply(name, ask) crash() end,
  function(self, name, ask) self.late[#self.late + 1] = { name = name, ask = ask } crash() end,
}

-- Returns the error of a fault, or nil.
function world:fault(faults, ...)
  if self.faults_left == 0 then return nil end
  local which = self.choose(#faults + 1) - 1
  if which == 0 then return nil end
  self.faults_left = self.faults_left - 1
  return faults[which](self, ...)
end

local function show(card)
  return { value = VALUE, name = card.name, active = card.active, contact = card.contact and { uuid = card.contact } }
end

function world:find()
  self:let_others_act()
  local err = self:fault(find_faults)
  if not err then
    self.seen, self.found = { card = copy(self.card) }, true
    err = not self.card and failure("not_found") or not self.card.active and failure("inactive") or nil
  end
  self:land()
  return not err and show(self.seen.card) or nil, err
end

-- Sends one request; returns an error or nil.
function world:write(name, ask)
  self:let_others_act()
  local before_landing, was_lost = self.late, self.lost
  self.late, self.lost = {}, true -- it stays so if the process dies
  local err = self:fault(write_faults, name, ask)
  self.lost = was_lost or err ~= nil and err.outcome_unknown
  self.doubtful = self.doubtful or self.lost
  if not err then
    local kind = self:apply(name, ask)
    self.seen = { card = copy(self.card) }
    err = kind and failure(kind)
  end
  for _, one in ipairs(before_landing) do
    self:apply(one.name, one.ask)
  end
  return err
end

-- ---- the core ---------------------------------------------------------------------------

local function wants(ask, card)
  return card ~= nil and (ask.name == nil or card.name == ask.name)
    and (ask.contact_uuid == nil or card.contact == ask.contact_uuid)
end

local function fits(name, ask, card)
  if name == "create" then
    return card.name == (ask.name or VALUE) and card.contact == ask.contact_uuid
  end
  return card.contact == ask.contact_uuid
end

-- Verifies a create or link: returns the outcome, an error, or neither if the request may be sent.
function world:verify(name, ask)
  local found, err = self:find()
  local card = found and { name = found.name, contact = found.contact and found.contact.uuid }
  if card and fits(name, ask, card) then
    return "recovered"
  elseif err and err.kind == "not_found" and name == "create" or card and name == "link" and not card.contact then
    return nil
  elseif card or err.kind == "inactive" and name == "create" then
    err = failure("conflict")
    err.card = found
  end
  err.outcome_unknown = true
  return nil, err
end

-- Performs a create or link with verification, as the core does. Returns the outcome or an error.
function world:send_verified(name, ask, maybe_applied)
  if self.is_plain then maybe_applied = false end -- decide is safe even if the core does not verify
  if maybe_applied then
    local outcome, err = self:verify(name, ask)
    if outcome or err then return outcome, err end
  end
  local err = self:write(name, ask)
  if not err then
    return name == "create" and "created" or "linked"
  elseif maybe_applied and (err.kind == "already_exists" or err.kind == "already_linked") then
    local outcome, wrong = self:verify(name, ask)
    if outcome then return outcome end
    err = wrong or err
  end
  err.outcome_unknown = err.outcome_unknown or maybe_applied or false
  return nil, err
end

-- Ensure, as it is composed. It claims that the card existed whatever an earlier attempt may have done.
function world:ensure(ask, maybe_applied)
  local outcome, err = self:send_verified("create", ask, maybe_applied)
  if outcome or err.kind ~= "already_exists" and err.kind ~= "conflict" then return outcome, err end
  local found, changed
  for _ = 1, 3 do
    found, err = self:find()
    local step = nil
    if not err then
      local contact = found.contact and found.contact.uuid
      local other_name = ask.name and found.name ~= ask.name
      if ask.contact_uuid and contact and contact ~= ask.contact_uuid or other_name and found.name ~= VALUE then
        err = failure("conflict")
      elseif ask.contact_uuid and not contact then
        step = "link"
      elseif other_name then
        step = "update"
      else
        return "existed"
      end
    end
    err = err or self:write(step, step == "link" and { contact_uuid = ask.contact_uuid } or { name = ask.name })
    changed = changed or not err or err.outcome_unknown
    if err and err.kind ~= "already_linked" then break end
  end
  err = err or failure("conflict")
  err.outcome_unknown = err.outcome_unknown or changed or false
  return nil, err
end

-- Performs an update; with `expect`, finds first.
function world:update(ask, expect)
  if expect ~= nil then
    local found, err = self:find()
    if err then return nil, err end
    if (found.contact and found.contact.uuid or false) ~= expect then return nil, failure("conflict") end
  end
  local err = self:write("update", ask)
  return not err and "updated" or nil, err
end

-- ---- the worker -------------------------------------------------------------------------

local function broken(self, promise)
  error(("%s: %s: %s"):format(promise, self.item.operation, table.concat(self.trace, "; ")), 0)
end

local function promise(self, holds, what)
  if not holds then broken(self, what) end
end

local ONCE = { unlink = true, delete = true }

function world:check_send(step)
  local item, card = self.item, self.card
  if self.lost and item.operation == "update" then
    promise(self, self.finds > 0, "an update that may have been applied is verified first")
  elseif self.lost and not ONCE[item.operation] then
    promise(self, step.maybe_applied, "the core is told what may have been applied")
  end
  if not ONCE[item.operation] then return end
  local before = item.before
  promise(self, step.single, "a change that is not harmless is sent once per attempt")
  promise(self, #self.late == 0, "it is not sent again while it may still land")
  promise(self, self.finds > 0, "the card is found first")
  promise(self, before and before.exists, "the card before is committed first")
  if not self.found then return end -- others changed the card after it was found, which cannot be prevented
  promise(self, card, "a card that is gone is left alone")
  promise(self, before.inactive == (not card.active or nil), "an inactive card is known to be one")
  if card.active then
    promise(self, (card.contact or false) == before.contact_uuid, "the next owner keeps the card")
  end
  promise(self, item.arguments.expect == nil or card.active and item.arguments.expect == (card.contact or false),
    "the expected contact is compared")
  promise(self, item.operation == "delete" or card.contact, "a card without a contact is not unlinked")
  if item.operation == "delete" and card.active then
    promise(self, card.name == before.name and card.active == before.active, "a changed card is not deleted")
  end
end

function world:send(step)
  local item = self.item
  local ask, name = item.arguments, item.operation
  self:check_send(step)
  if name == "find" then
    local card, err = self:find()
    return { card = card, err = err, info = card and {} }
  end
  local outcome, err
  if name == "ensure" then
    outcome, err = self:ensure(ask, step.maybe_applied)
  elseif name == "update" then
    outcome, err = self:update(ask, step.expect)
  elseif ONCE[name] then
    err = self:write(name, ask)
    outcome = not err or nil
  else
    outcome, err = self:send_verified(name, ask, step.maybe_applied)
  end
  local card = self.card and show(self.card) or { value = VALUE }
  local told = (outcome == "created" or outcome == "existed" or outcome == "recovered") and outcome or nil
  return { card = outcome and (name == "delete" or card) or nil, err = err, info = outcome and { outcome = told } }
end

function world:record(step)
  promise(self, not self.lost, "the card before is not replaced after a request")
  promise(self, self.seen and self.seen.card, "only a card that was found is recorded")
  if step.before.inactive then
    promise(self, not self.seen.card.active, "an inactive card is recorded as one")
  else
    promise(self, step.before.contact_uuid == (self.seen.card.contact or false), "the contact is recorded")
  end
  self.item.before = step.before
  self:fault { crash }
  return {}
end

-- Does what decide says until the attempt ends; returns the last step.
function world:attempt()
  local last
  self.finds, self.found = 0, false
  self:fault { crash }
  for _ = 1, 6 do
    local step = self.decide.next(self.item, last)
    self.trace[#self.trace + 1] = step.action
    if step.action == "end" then return step end
    if step.action == "find" then
      local card, err = self:find()
      self.finds = self.finds + 1
      last = { card = card, err = err, info = card and {} }
    else
      last = self[step.action](self, step)
    end
    self.trace[#self.trace + 1] = last.err and last.err.kind or "ok"
    last.step = step
  end
  broken(self, "an attempt ends")
end

-- ---- what may be reported ---------------------------------------------------------------

local true_if = {}

function true_if.created(self) return self.created end
function true_if.updated(self) return self.applied > 0 end
true_if.unlinked, true_if.deleted, true_if.linked = true_if.updated, true_if.updated, true_if.updated
function true_if.found(self) return self.seen.card ~= nil and self.seen.card.active end

function true_if.existed(self)
  local made = self.item.operation == "link" and self.linked or self.created
  return not made and wants(self.item.arguments, self.seen.card)
end

function true_if.recovered(self)
  local operation, ask, card = self.item.operation, self.item.arguments, self.seen.card
  if not self.doubtful and self.applied == 0 then return false end -- it was not ours
  if operation == "delete" then
    return card == nil
  elseif operation == "unlink" then
    return card ~= nil and card.contact == nil
  end
  return wants(ask, card) and (ask.active == nil or card.active == ask.active)
    and (ask.expect == nil or not card.active or (card.contact or false) == ask.expect)
end

function world:check_final(step)
  if step.state == "done" then
    promise(self, true_if[step.outcome] and true_if[step.outcome](self), "the outcome " .. tostring(step.outcome)
      .. " is true")
  elseif step.state == "failed" then
    promise(self, self.applied == 0 and #self.late == 0, "what may have been applied is not called failed")
    promise(self, step.kind, "a failure has a kind")
  else
    promise(self, step.state == "unknown", "a state is one of those that are known")
    local has_reason = (self.doubtful or self.applied > 0) and self.item.operation ~= "find"
    promise(self, has_reason or step.kind == "poisoned", "unknown has a reason")
  end
end

function world:check_postponed(step)
  promise(self, step.state == "ready" or step.state == "later", "a state is one of those that are known")
  promise(self, step.transient or step.stop or step.kind == "canceled", "another attempt has a reason")
  if not step.maybe_applied then
    promise(self, self.applied == 0 and #self.late == 0, "what may have been applied is remembered")
  else
    promise(self, self.item.operation ~= "find" and (self.doubtful or self.applied > 0),
      "what was not sent is not called maybe applied")
    promise(self, step.state == "later", "what may have been applied has to settle")
  end
end

-- Another attempt follows after what was sent had time to settle.
function world:postpone(step)
  local item = self.item
  self:check_postponed(step)
  item.maybe_applied, item.kind = step.maybe_applied, step.kind
  if step.transient then self.tries = self.tries + 1 end
  if not step.maybe_applied and not self.keeps_before then item.before = nil end
  if step.maybe_applied then self:land() end
end

function world:take_over()
  self.crashes = self.crashes + 1
  self.trace[#self.trace + 1] = "crash"
  self.item.maybe_applied, self.doubtful = true, true
  self:land()
end

-- Works on one item until it is final; raises an error if a promise is broken. `setting` has `decide`, `operation`,
-- `arguments`, `card`, `faults`, `others`, `keeps_before` and `is_plain`. Returns the last step.
function world.run(setting, choose)
  local self = setmetatable({ choose = choose, decide = setting.decide, card = copy(setting.card), late = {},
    applied = 0, faults_left = setting.faults, others_left = setting.others, keeps_before = setting.keeps_before,
    is_plain = setting.is_plain, tries = 0, crashes = 0, trace = {}, doubtful = false, lost = false }, world)
  self.item = { operation = setting.operation, arguments = setting.arguments, maybe_applied = false }
  for _ = 1, LIMIT do
    local fine, step = pcall(self.attempt, self)
    if not fine and step ~= CRASH then error(step, 0) end
    if not fine then
      self:take_over()
      if self.crashes == 3 then step = self.decide.poisoned() end
    elseif step.state == "ready" or step.state == "later" then
      self:postpone(step)
      step = self.tries == 3 and self.decide.exhausted(self.item, step) or CRASH
    end
    if step ~= CRASH then
      self:check_final(step)
      return step
    end
  end
  broken(self, "an item ends")
end

return world
