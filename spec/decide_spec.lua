-- What an item of a job does next: exact endings against a table, and promises in a small world in which responses
-- are lost, requests take effect late, other clients change the card, and the process dies.
local decide = require("leat.jobs.decide")
local world = dofile("spec/support/job_world.lua")

-- ---- the table --------------------------------------------------------------------------

-- Steps as text: a final state with its outcome or kind; or the state of an attempt that ends, with "maybe" if a
-- request may have been applied, "~" if the error may be an outage, and "!" if the job pauses.
local function show(step)
  local words = { step.action == "end" and step.state or step.action }
  if step.action == "send" then
    words[2] = step.maybe_applied and "verified" or step.single and "single"
      or step.expect ~= nil and "expecting " .. tostring(step.expect) or nil
  elseif step.state == "done" then
    words[2] = step.outcome
  elseif step.state == "failed" or step.state == "unknown" then
    words[2] = step.kind
  elseif step.action == "end" then
    words[1] = step.state .. (step.maybe_applied and "+" or "") .. (step.transient and "~" or "")
      .. (step.stop and "!" or "")
  end
  return table.concat(words, " ")
end

-- What each kind of error means if nothing else is said below. Columns: the error of a request, if nothing else was
-- sent; if an earlier request may have been applied; if this one may have been applied; the same for an unlink or
-- delete; the error of a find, if nothing was sent; and if an earlier request may have been applied.
local GENERAL = [[
  kind               first   earlier lost    once    find    verify
  not_found          failed  unknown unknown later+~ failed  unknown
  inactive           failed  unknown unknown later+~ failed  unknown
  already_exists     failed  unknown unknown later+~ failed  unknown
  already_linked     failed  unknown unknown later+~ failed  unknown
  not_linked         failed  unknown unknown later+~ failed  unknown
  contact_not_found  failed  failed  unknown later+~ failed  unknown
  invalid_input      failed  failed  unknown later+~ failed  unknown
  unauthorized       ready!  later+! later+! later+! ready!  later+!
  forbidden          ready!  later+! later+! later+! ready!  later+!
  quota_reached      ready!  later+! later+! later+! ready!  later+!
  rate_limited       later~  later+~ later+~ later+~ later~  later+~
  maintenance        later~  later+~ later+~ later+~ later~  later+~
  server             later~  later+~ later+~ later+~ later~  later+~
  api                failed  unknown unknown later+~ failed  unknown
  conflict           failed  unknown unknown later+~ failed  unknown
  connection         later~  later+~ later+~ later+~ later~  later+~
  tls                ready!  later+! later+! later+! ready!  later+!
  timeout            later~  later+~ later+~ later+~ later~  later+~
  protocol           later~  later+~ later+~ later+~ later~  later+~
  too_large          failed  unknown unknown later+~ failed  unknown
  redirect           ready!  later+! later+! later+! ready!  later+!
  canceled           ready   later+  later+  later+  ready   later+
  config             ready!  later+! later+! later+! ready!  later+!
  local              ready!  later+! later+! later+! ready!  later+!
  no_memory          ready!  later+! later+! later+! ready!  later+!
]]

-- The rest: "operation phase result: step". The phases are find (nothing was sent), verify (a find after a request
-- that may have been applied), first and earlier (sending, after none or after such a request).
local SPECIAL = [[
  find first ok: done found
  create first ok: done created
  create first existed: done existed
  create first recovered: done recovered
  create earlier ok: done created
  create earlier existed: done recovered
  create earlier recovered: done recovered
  ensure first ok: done created
  ensure first existed: done existed
  ensure first recovered: done recovered
  ensure earlier ok: done created
  ensure earlier existed: done recovered
  ensure earlier recovered: done recovered
  link first ok: done linked
  link first existed: done existed
  link first recovered: done recovered
  link earlier ok: done linked
  link earlier existed: done recovered
  link earlier recovered: done recovered
  link first already_linked: find
  link earlier already_linked: find
  link find desired: done existed
  link find free: failed already_linked
  link find other: failed already_linked
  link verify desired: done recovered
  link verify free: unknown conflict
  link verify other: unknown conflict
  update first ok: done updated
  update earlier ok: done updated
  update verify desired: done recovered
  update verify other: send
  update verify half: send
  update verify not_found: send
  update verify inactive: send
  unlink find free: failed not_linked
  unlink find linked: record
  unlink find other: record
  unlink first ok: done unlinked
  unlink earlier ok: done unlinked
  unlink earlier not_linked: done recovered
  unlink verify free: done recovered
  unlink verify linked: send single
  unlink verify other: unknown conflict
  unlink verify not_found: unknown conflict
  unlink verify inactive: unknown conflict
  delete find linked: record
  delete find free: record
  delete find inactive: record
  delete first ok: done deleted
  delete earlier ok: done deleted
  delete earlier not_found: done recovered
  delete verify not_found: done recovered
  delete verify linked: send single
  delete verify free: unknown conflict
  delete verify other: unknown conflict
  delete verify renamed: unknown conflict
  delete verify stopped: unknown conflict
  delete verify inactive: unknown conflict
]]

local COLUMNS = { "first", "earlier", "lost", "once", "find", "verify" }
local general, special, kinds = {}, {}, {}
for line in GENERAL:gmatch("[^\n]+") do
  local kind, rest = line:match("^%s*(%S+)%s+(.*)")
  if kind ~= "kind" then
    kinds[#kinds + 1], general[kind] = kind, {}
    local at = 0
    for word in rest:gmatch("%S+") do
      at = at + 1
      general[kind][COLUMNS[at]] = word
    end
  end
end
for key, step in SPECIAL:gmatch("(%l[%l_ ]+): ([^\n]+)") do
  special[key] = step
end

local ASK = {
  find = {}, create = { name = "Ann" }, ensure = { name = "Ann", contact_uuid = "ann" },
  link = { contact_uuid = "ann" },
  unlink = {}, delete = {}, update = { name = "Ann", active = true },
}
local CARDS = {
  free = { name = "Card", active = true }, linked = { name = "Card", active = true, contact = { uuid = "ANN " } },
  other = { name = "Card", active = true, contact = { uuid = "bob" } },
  renamed = { name = "Other", active = true, contact = { uuid = "ann" } },
  stopped = { name = "Card", active = false, contact = { uuid = "ann" } },
  desired = { name = " Ann", active = true, contact = { uuid = "Ann" } },
  half = { name = "Ann", active = false, contact = { uuid = "bob" } },
}
local BEFORE = { exists = true, contact_uuid = "ann", name = "Card", active = true }

-- Plays results, one for each step, and returns the last step.
local function play(item, ...)
  local step = decide.next(item)
  for _, result in ipairs { ... } do
    result.step = step
    if step.before then item.before = step.before end
    step = decide.next(item, result)
  end
  return step
end

local function found(name)
  return { card = CARDS[name], info = {} }
end

local function failed(kind, lost)
  return { err = { kind = kind, code = 7, message = "why", outcome_unknown = lost or false, attempts = 1 } }
end

-- The results that lead to each phase of an operation.
local function to_phase(operation, phase)
  local sends = phase == "first" or phase == "earlier"
  if operation == "unlink" or operation == "delete" then
    if phase == "first" then return found "linked", {} end
    if phase == "earlier" then return found "linked" end
  elseif operation == "link" and not sends then
    return failed "already_linked"
  elseif operation == "update" and phase == "earlier" then
    return found "other"
  end
end

local function new_item(operation, phase)
  local earlier = phase == "earlier" or phase == "verify"
  return { operation = operation, arguments = ASK[operation], maybe_applied = earlier, before = earlier and BEFORE }
end

local function after(operation, phase, result)
  local results = { to_phase(operation, phase) }
  results[#results + 1] = result
  return play(new_item(operation, phase), (unpack or table.unpack)(results)) -- luacheck: ignore
end

local PHASES = {
  find = { "first" }, create = { "first", "earlier" }, ensure = { "first", "earlier" },
  link = { "first", "earlier", "find", "verify" }, update = { "first", "earlier", "verify" },
  unlink = { "find", "first", "earlier", "verify" }, delete = { "find", "first", "earlier", "verify" },
}
local OPERATIONS = { "find", "create", "ensure", "link", "update", "unlink", "delete" }

local function each_phase(f)
  for _, operation in ipairs(OPERATIONS) do
    for _, phase in ipairs(PHASES[operation]) do
      f(operation, phase)
    end
  end
end

local function expected_error(operation, phase, kind, lost)
  local once = operation == "unlink" or operation == "delete"
  local step = not lost and special[operation .. " " .. phase .. " " .. kind]
    or general[kind][lost and (once and "once" or "lost") or phase]
  return step .. ((step == "failed" or step == "unknown") and " " .. kind or "")
end

describe("what an item does next", function()
  it("after each error of each step", function()
    local count = 0
    each_phase(function(operation, phase)
      local sends = phase == "first" or phase == "earlier"
      for _, kind in ipairs(kinds) do
        for _, lost in ipairs { false, sends and operation ~= "find" or nil } do
          local step = after(operation, phase, failed(kind, lost))
          local what = ("%s, %s, %s%s"):format(operation, phase, kind, lost and ", lost" or "")
          assert.equal(what .. ": " .. expected_error(operation, phase, kind, lost), what .. ": " .. show(step))
          count = count + 1
        end
      end
    end)
    assert.equal(25 * (20 + 12), count) -- kinds, phases, and phases whose response may be lost
  end)

  it("after each result of each step", function()
    local count = 0
    for key, step in pairs(special) do
      local operation, phase, what = key:match("(%S+) (%S+) (%S+)")
      if not general[what] then
        local sends = phase == "first" or phase == "earlier"
        local outcome = what ~= "ok" and what or nil
        local result = sends and { card = CARDS.linked, info = { outcome = outcome } } or found(what)
        local ending = after(operation, phase, result)
        assert.equal(key .. ": " .. step, key .. ": " .. show(ending))
        if ending.action == "end" then assert.equal(result.card, ending.card) end
        count = count + 1
      end
    end
    assert.equal(47, count)
  end)

  it("if a find fails in any way: it changes nothing", function()
    for _, kind in ipairs(kinds) do
      for _, maybe_applied in ipairs { false, true } do
        local item = { operation = "find", arguments = {}, maybe_applied = maybe_applied }
        assert.equal(expected_error("find", "first", kind, false), show(play(item, failed(kind, maybe_applied))))
      end
    end
    for _, operation in ipairs { "update", "unlink", "delete" } do
      local item = { operation = operation, arguments = ASK[operation] }
      local step = operation == "update" and "later+~" or "later~"
      item.maybe_applied = operation == "update"
      assert.equal(step, show(play(item, failed("timeout", true))))
    end
  end)

  it("keeps the code and message of an error", function()
    for _, kind in ipairs(kinds) do
      local step = after("create", "first", failed(kind))
      assert.same({ kind, 7, "why" }, { step.kind, step.code, step.message })
      assert.equal(general[kind].first:find("!", 1, true) and kind or nil, step.stop)
    end
    local step = after("link", "find", found "other")
    assert.same({ "already_linked", 7, "why" }, { step.kind, step.code, step.message })
    local err = failed("conflict").err
    err.card = CARDS.other
    assert.equal(CARDS.other, after("ensure", "first", { err = err }).card)
    assert.is_nil(after("delete", "first", { card = true, info = {} }).card)
  end)

  it("at the beginning", function()
    local begins = { find = { "send", "send" }, create = { "send", "send verified" },
      link = { "send", "send verified" }, ensure = { "send", "send verified" },
      update = { "send", "find" }, unlink = { "find", "find" }, delete = { "find", "find" } }
    for operation, steps in pairs(begins) do
      assert.equal(steps[1], show(play(new_item(operation, "first"))))
      assert.equal(steps[2], show(play(new_item(operation, "earlier"))))
    end
  end)

  it("if the card before was not recorded: nothing was sent", function()
    for _, operation in ipairs { "unlink", "delete" } do
      local function item()
        return { operation = operation, arguments = {}, maybe_applied = true }
      end
      local step = play(item(), found "linked")
      assert.same({ exists = true, contact_uuid = "ANN ", name = "Card", active = true }, step.before)
      assert.equal("send single", show(play(item(), found "linked", {})))
      assert.equal("failed not_found", show(play(item(), failed "not_found")))
      assert.equal("failed not_linked", show(play(item(), found "linked", {}, failed "not_linked")))
      assert.equal("later~", show(play(item(), found "linked", {}, failed "connection")))
      assert.equal("later~", show(play(item(), failed "timeout")))
      assert.equal("failed not_found", show(play({ operation = operation, arguments = {}, maybe_applied = true,
        before = {} }, failed "not_found")))
    end
  end)

  it("if an inactive card is to be deleted", function()
    local function item(before)
      return { operation = "delete", arguments = {}, maybe_applied = before ~= nil, before = before }
    end
    assert.same({ exists = true, inactive = true }, play(item(), failed "inactive").before)
    local before = { exists = true, inactive = true }
    assert.equal("send single", show(play(item(before), failed "inactive")))
    assert.equal("unknown conflict", show(play(item(before), found "free")))
    assert.equal("unknown conflict", show(play(item(before), { card = {}, info = {} })))
    local step = play({ operation = "delete", arguments = { expect = "ann" } }, failed "inactive")
    assert.equal("failed inactive", show(step))
  end)

  it("if a contact is expected", function()
    local cases = {
      { "unlink", "Ann", "linked", "record" }, { "unlink", "ann", "other", "failed conflict" },
      { "unlink", "ann", "free", "failed conflict" }, { "unlink", false, "linked", "failed conflict" },
      { "unlink", false, "free", "failed not_linked" }, { "delete", "ann", "linked", "record" },
      { "delete", "ann", "other", "failed conflict" }, { "delete", "ann", "free", "failed conflict" },
      { "delete", false, "free", "record" }, { "delete", false, "linked", "failed conflict" },
    }
    for _, case in ipairs(cases) do
      local operation, expect, card, step = (unpack or table.unpack)(case) -- luacheck: ignore
      local item = { operation = operation, arguments = { expect = expect } }
      assert.equal(step, show(play(item, found(card))))
    end
    for _, expect in ipairs { "ann", false } do
      local arguments = { name = "Ann", expect = expect }
      local sends = "send expecting " .. tostring(expect)
      assert.equal(sends, show(play { operation = "update", arguments = arguments }))
      local again = { operation = "update", arguments = arguments, maybe_applied = true }
      assert.equal(sends, show(play(again, found "other")))
      assert.equal(sends, show(play(again, found "half")))
      assert.equal(expect and "done recovered" or sends, show(play(again, found "desired")))
    end
  end)

  it("if an update deactivates the card", function()
    local function verify(arguments, result)
      return show(play({ operation = "update", arguments = arguments, maybe_applied = true }, result))
    end
    assert.equal("done recovered", verify({ active = false }, failed "inactive"))
    assert.equal("send", verify({ active = false, name = "Ann" }, failed "inactive"))
    assert.equal("send", verify({ active = true }, failed "inactive"))
    assert.equal("send", verify({ name = "Ann" }, failed "inactive"))
    assert.equal("send", verify({ active = false }, found "linked"))
    assert.equal("done recovered", verify({ name = "Ann" }, found "half"))
    assert.equal("done recovered", verify({ active = false }, found "half"))
  end)

  it("if the contact is known by its e-mail address", function()
    local function item(maybe_applied)
      return { operation = "link", arguments = { contact_email = "ann@a.b" }, maybe_applied = maybe_applied }
    end
    local function card(email)
      return { card = { contact = { uuid = "1", email = email } }, info = {} }
    end
    assert.equal("done existed", show(play(item(), failed "already_linked", card "Ann@a.b")))
    assert.equal("failed already_linked", show(play(item(), failed "already_linked", card "bob@a.b")))
    assert.equal("failed already_linked", show(play(item(), failed "already_linked", card(nil))))
    assert.equal("unknown conflict", show(play(item(true), failed "already_linked", card(nil))))
  end)

  it("after too many errors, or deaths of the process", function()
    local function exhausted(operation, maybe_applied, before)
      return show(decide.exhausted({ operation = operation, arguments = {}, maybe_applied = maybe_applied,
        before = before }, { kind = "timeout", code = 1, message = "why" }))
    end
    for _, operation in ipairs(OPERATIONS) do
      assert.equal("failed timeout", exhausted(operation, false, BEFORE))
      assert.equal(operation == "find" and "failed timeout" or "unknown timeout", exhausted(operation, true, BEFORE))
    end
    assert.equal("failed timeout", exhausted("delete", true))
    assert.equal("unknown timeout", show(decide.exhausted({ operation = "delete", arguments = {} },
      { kind = "timeout", code = 1, message = "why", maybe_applied = true })))
    assert.equal("unknown timeout", exhausted("create", true))
    assert.equal("unknown poisoned", show(decide.poisoned()))
  end)
end)

-- ---- the world --------------------------------------------------------------------------

-- Calls `run(choose)` once for every way to choose; returns how many there are.
local function each_way(run)
  local path, count = {}, 0
  repeat
    local depth = 0
    run(function(n)
      depth = depth + 1
      local point = path[depth] or { at = 1, n = n }
      path[depth] = point
      return point.at
    end)
    count = count + 1
    while path[1] and path[#path].at == path[#path].n do
      path[#path] = nil
    end
    if path[1] then path[#path].at = path[#path].at + 1 end
  until not path[1]
  return count
end

-- The same numbers on every Lua.
local function random_numbers(seed)
  return function(n)
    seed = seed * 16807 % 2147483647
    return seed % n + 1
  end
end

local START = {
  {}, { card = { name = "X", active = true } }, { card = { name = "X", active = true, contact = "ann" } },
  { card = { name = "Own", active = true, contact = "bob" } },
  { card = { name = "X", active = false, contact = "ann" } },
}
local REQUESTS = {
  find = { {} }, create = { {}, { name = "Ann", contact_uuid = "ann" } },
  ensure = { {}, { name = "Ann", contact_uuid = "ann" } }, link = { { contact_uuid = "ann" } },
  update = { { name = "Ann" }, { active = false }, { active = true }, { name = "Ann", active = false },
    { name = "Ann", active = true, expect = "ann" } },
  unlink = { {}, { expect = "ann" } }, delete = { {}, { expect = "ann" }, { expect = false } },
}

local function each_setting(f)
  for _, operation in ipairs(OPERATIONS) do
    for _, arguments in ipairs(REQUESTS[operation]) do
      for _, start in ipairs(START) do
        f { decide = decide, operation = operation, arguments = arguments, card = start.card }
      end
    end
  end
end

describe("no promise is broken", function()
  local function explore(faults, others, keeps_before, is_plain)
    local ways, states = 0, {}
    each_setting(function(setting)
      setting.faults, setting.others, setting.keeps_before, setting.is_plain = faults, others, keeps_before, is_plain
      ways = ways + each_way(function(choose)
        local step = world.run(setting, choose)
        states[step.outcome or step.state] = true
      end)
    end)
    return ways, states
  end

  it("in any way that two faults can happen", function()
    local ways, states = explore(2, 0, true)
    assert.is_true(ways > 1000, ways)
    for _, state in ipairs { "created", "existed", "recovered", "linked", "unlinked", "updated", "deleted", "found",
      "failed", "unknown" } do
      assert.is_true(states[state], state)
    end
  end)

  it("in any way that a fault and another client's change can happen", function()
    assert.is_true(explore(1, 1, false) > 1000)
    assert.is_true(explore(1, 1, true) > 1000)
    assert.is_true(explore(1, 1, true, true) > 1000)
  end)

  it("in random ways with more of both", function()
    local random, poisoned, exhausted = random_numbers(20261130), false, false
    each_setting(function(setting)
      for _ = 1, 600 do
        setting.is_plain = random(2) == 1
        setting.faults, setting.others, setting.keeps_before = random(7), random(4) - 1, random(2) == 1
        local step = world.run(setting, random)
        poisoned, exhausted = poisoned or step.kind == "poisoned", exhausted or step.kind == "timeout"
      end
    end)
    assert.is_true(poisoned and exhausted)
  end)
end)

-- ---- closing verification ---------------------------------------------------------------

describe("closing verification", function()
  -- Each row: what was requested, and what it says of each card.
  local ROWS = [[
    request            free    linked  other   renamed stopped half    inactive not_found timeout forbidden
    find               same    same    same    same    same    same    changed  changed   ?       ?
    create             same    same    same    same    same    same    same     changed   ?       ?
    create_name        changed changed changed changed changed same    ?        changed   ?       ?
    create_contact     changed same    changed same    same    changed ?        changed   ?       ?
    ensure_both        changed changed changed changed changed changed ?        changed   ?       ?
    link               changed same    changed same    same    changed ?        changed   ?       ?
    unlink             same    changed changed changed changed changed ?        changed   ?       ?
    update_name        changed changed changed changed changed same    ?        changed   ?       ?
    update_active      same    same    same    same    changed changed changed  changed   ?       ?
    update_stop        changed changed changed changed same    same    same     changed   ?       ?
    update_stop_name   changed changed changed changed changed same    ?        changed   ?       ?
    delete             changed changed changed changed changed changed changed  same      ?       ?
  ]]
  local ASKED = {
    find = {}, create = {}, create_name = { name = "Ann" }, create_contact = { contact_uuid = "ann" },
    ensure_both = { name = "Ann", contact_uuid = "ann" }, link = { contact_uuid = "ann" }, unlink = {},
    update_name = { name = "Ann" }, update_active = { active = true }, update_stop = { active = false },
    update_stop_name = { active = false, name = "Ann" }, delete = {},
  }

  it("compares what was requested, and nothing else", function()
    local columns, count = {}, 0
    for line in ROWS:gmatch("[^\n]+") do
      local request, at = nil, 0
      for word in line:gmatch("%S+") do
        if not request then
          request = word
        elseif request == "request" then
          columns[#columns + 1] = word
        else
          at = at + 1
          local item = { operation = request:match("^%l+"), arguments = ASKED[request], state = "done" }
          local card = CARDS[columns[at]]
          local err = not card and failed(columns[at]).err or nil
          local what = request .. " " .. columns[at] .. ": "
          assert.equal(what .. (word == "?" and "cannot tell" or word), what .. decide.compare(item, card, err))
          count = count + 1
        end
      end
    end
    assert.equal(120, count)
  end)

  it("tells nothing of an item that changed nothing", function()
    for state, result in pairs { failed = "cannot tell", rejected = "cannot tell", skipped = "cannot tell",
      unknown = "same", done = "same" } do
      local item = { operation = "delete", arguments = {}, state = state }
      assert.equal(result, decide.compare(item, nil, failed("not_found").err))
    end
  end)
end)
