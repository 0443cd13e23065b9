-- What the `leat` command prints: results on standard output, everything else on standard error.
--
-- Results are JSON objects, one per line, or text for people. A write that fails ends the command.

local json = require("leat.cli.json")
local system = require("leat.cli.core")
local status = require("leat.cli.status")
local text_of = require("leat.cli.job_text")

local Output = {}
Output.__index = Output

local STDOUT, STDERR = 1, 2
local SIGPIPE = 13

-- ---- writing ----------------------------------------------------------------------------

-- Nobody reads the output any more: the command ends as most programs do, quietly.
local function check_written(self, fine, why, closed)
  if closed then
    system.die(SIGPIPE)
  elseif not fine and not self.failed then
    self.failed = true
    system.write(STDERR, ("leat: can't write to standard output: %s\n"):format(why))
  end
  return fine
end

-- Writes a line to standard output. After a failure `failed` is true, and nothing is written any more.
function Output:line(text)
  self:hide_progress()
  if not self.failed then
    check_written(self, system.write(STDOUT, text .. "\n"))
  end
end

-- Writes a message to standard error.
function Output:message(text)
  self:hide_progress()
  system.write(STDERR, text .. "\n")
end

-- Writes a question, and leaves the cursor behind it.
function Output:ask(question)
  self:hide_progress()
  system.write(STDERR, question)
end

-- Writes a message, but not with --quiet.
function Output:notice(text)
  if not self.quiet then
    self:message("leat: " .. text)
  end
end

-- ---- colour -----------------------------------------------------------------------------

local codes = { error = "31", warning = "33" }

local function paint(self, fd, code, text)
  return self.colour[fd] and ("\27[%sm%s\27[0m"):format(codes[code], text) or text
end

-- ---- text -------------------------------------------------------------------------------

-- Removes control characters, which could move a terminal's cursor, from text of the service.
function Output:clean(text) -- luacheck: ignore self
  return (tostring(text):gsub("[%z\1-\31\127]", "?"):gsub("\194[\128-\159]", "?"))
end

local function describe_contact(self, contact)
  if not (contact and contact.uuid) then
    return "no contact"
  end
  local email = type(contact.email) == "string" and (" (%s)"):format(self:clean(contact.email)) or ""
  return "contact " .. self:clean(contact.uuid) .. email
end

-- Describes a card in a few words: its state, contact and name.
function Output:describe(card)
  local parts = { card.active == false and paint(self, STDOUT, "warning", "inactive") or "active",
    describe_contact(self, card.contact) }
  if card.name ~= nil and card.name ~= card.value then
    parts[#parts + 1] = ("name \"%s\""):format(self:clean(card.name))
  end
  return table.concat(parts, ", ")
end

-- Returns the text of an error without the name of the program and the operation, which the reader knows.
local function error_text(err)
  local text = tostring(err)
  return text:match("^leat: [%w_]+%.[%w_]+: (.*)$") or text:match("^leat: (.*)$") or text:match("^leat%.jobs: (.*)$")
    or text
end

-- ---- results ----------------------------------------------------------------------------

local silent = { found = true, listed = true } -- outcomes that the text does not name

-- Writes what became of a value; to standard error if it can't be written elsewhere, because a change that was made
-- must not go unseen.
local function write_result(self, text)
  self:line(text)
  if self.failed then
    self:message("leat: not written: " .. text)
  end
end

-- Prints a card. `outcome` is what became of it, in one word.
function Output:card(input, card, outcome, text)
  if self.json then
    write_result(self, json.object():add("input", input):add_card(card, text):add("outcome", outcome):text())
  else
    local form = outcome:find("^would_be_") and "%s: %s (now %s)" or silent[outcome] and "%s: %.0s%s" or "%s: %s: %s"
    write_result(self, form:format(self:clean(card.value), (outcome:gsub("_", " ")), self:describe(card)))
  end
end

-- Prints that a value is done for which there is no card any more, or not yet.
function Output:done(input, outcome)
  if self.json then
    write_result(self, json.object():add("input", input):add("value", input):add("outcome", outcome):text())
  else
    write_result(self, ("%s: %s"):format(self:clean(input), (outcome:gsub("_", " "))))
  end
end

-- Prints the account of the API key. `text` is what the service sent, as JSON.
function Output:account(account, text)
  if self.json then
    self:line(json.object():add("input", nil):add_members(text):text())
  else
    self:line(("%s (id %s, uuid %s)"):format(self:clean(account.company), self:clean(account.id),
      self:clean(account.uuid)))
  end
end

-- Prints the versions of the program, of Lua and of libcurl.
function Output:version(version, lua, curl)
  if self.json then
    self:line(json.object():add("input", nil):add("version", version):add("lua", lua):add("libcurl", curl):text())
  else
    self:line(("leat %s (%s, %s)"):format(version, lua, curl))
  end
end

-- Prints what a request would do.
function Output:preview(input, text)
  self:line(self.json and json.object():add("input", input):add("outcome", "would_be_sent"):text() or text)
end

-- Prints data of the service, which is JSON text.
function Output:data(input, text, info)
  if self.json then
    self:line(json.object():add("input", input):add_text("data", text):add("status", info.status):text())
  else
    self:line(text)
  end
end

-- Quotes a value that would be hard to see.
local function quote_odd(text)
  return (text == "" or text:find("^%s") or text:find("%s$")) and ("'%s'"):format(text) or text
end

local function print_error(self, input, err)
  local text, kind = error_text(err), tostring(err.kind)
  if text:sub(1, #kind) == kind then
    text = paint(self, STDERR, "error", kind) .. text:sub(#kind + 1)
  end
  self:message(("leat: %s%s"):format(input and quote_odd(self:clean(input)) .. ": " or "", text))
end

-- Prints an error: as JSON on standard output, as text on standard error. Returns its exit status. JSON that cannot
-- be written is replaced by text, because the error may say that a change may have been made.
function Output:failure(input, err)
  if self.json then
    self:line(json.object():add("input", input):add_text("error", json.error(err)):text())
  end
  if not self.json or self.failed then
    print_error(self, input, err)
  end
  return status.of(err)
end

-- ---- progress ---------------------------------------------------------------------------

local WIDTH = 20

local function progress_text(p, seconds)
  local rate = p.done / seconds
  local left = p.total and rate > 0 and (p.total - p.done) / rate or nil
  return ("%s, %s"):format(text_of.processed(p.done, p.total, p.failed), text_of.pace(rate, left))
end

-- A problem leaves no room for the bar.
local function bar(p)
  local full = p.total and not p.problem and math.floor(WIDTH * p.done / math.max(p.total, 1))
  return full and ("[%s%s] "):format(("#"):rep(full), ("."):rep(WIDTH - full)) or ""
end

-- Shows the progress of work that takes longer than a second: a bar on a terminal, otherwise a line every ten
-- seconds. `p` has `done`, `failed`, `total` (nil if that is not known) and `begun`, a time in seconds, as `now`. It
-- may have the `text` to show, which says that there is a `problem`.
function Output:progress(p, now)
  local seconds = now - p.begun
  local interval = not self.terminal and 10 or self.reported > p.begun and 0.2 or 1
  if self.quiet or now - math.max(self.reported, p.begun) < interval then
    return
  end
  self.reported = now
  if self.terminal then
    local text = bar(p) .. (p.text or progress_text(p, seconds))
    system.write(STDERR, "\r" .. text:sub(1, (system.columns(STDERR) or 80) - 1) .. "\27[K")
    self.shown = true
  else
    system.write(STDERR, "leat: " .. (p.text or progress_text(p, seconds)) .. "\n")
  end
end

-- Erases the bar, so that something else can be written.
function Output:hide_progress()
  if self.shown then
    self.shown = false
    system.write(STDERR, "\r\27[K")
  end
end

-- ---- the module -------------------------------------------------------------------------

local function wants_colour(fd)
  local refused, terminal = os.getenv("NO_COLOR"), os.getenv("TERM")
  return system.is_terminal(fd) and (refused or "") == "" and terminal ~= "dumb"
end

-- Makes the output of a command. `options` are the arguments: `json`, `quiet`.
return function(options)
  return setmetatable({
    json = options.json,
    quiet = options.quiet,
    terminal = system.is_terminal(STDERR) and os.getenv("TERM") ~= "dumb", -- a bar could not be erased
    colour = { [STDOUT] = wants_colour(STDOUT), [STDERR] = wants_colour(STDERR) },
    reported = 0,
    shown = false,
    failed = false,
  }, Output)
end
