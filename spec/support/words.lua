-- Checks the words of comments and names in the C, Lua and shell files that git tracks. CONTRIBUTING.md
-- has the rule. Prints what to write instead, and exits with 1 if there is anything to change.
--    lua5.4 spec/support/words.lua [FILE]...     without a FILE: every tracked one

-- A comment must not begin with one of these: it would be a clause without its sentence.
local DANGLING = { of = true, that = true, whose = true, who = true, which = true, nor = true }

-- Retired words, in lower case, by what to write instead. A word ends where its letters end, so that it is
-- also found between underscores.
local IN_COMMENTS = {
  ["queued, in the queue"] = { "in line" },
  ["repair, recover, fix"] = { "mend", "mends", "mended", "mending" },
  ["break, damage"] = { "spoil", "spoils", "spoiled" },
  ["classify, decide, decision"] = { "judge", "judges", "judged", "judging", "verdict" },
  ["randomness"] = { "dice" },
  ["the caller, a program that"] = { "whoever" },
  ["no owner, unlinked"] = { "nobody's" },
  ["response, respond"] = { "answer", "answers", "answered", "answering" },
}
local EVERYWHERE = {
  ["maybe_applied"] = { "in_doubt", "suspected" },
  ["fail_queue_timeout"] = { "lose_patience" },
  ["recovery"] = { "when_unknown" },
  ["LEAT_RETRY, LEAT_RETRY_UNTIL_NOT_FOUND"] = { "leat_again", "again_until_gone" },
  ["LEAT_VERIFY_CREATED"] = { "look_created" },
  ["LEAT_NO_RETRY"] = { "never_again" },
  ["LEAT_TO_VERIFY"] = { "leat_to_look" },
  ["a state for verifying"] = { "then_look" },
  ["leat_response, leat_call_respond"] = { "leat_answer", "leat_call_answer" },
  ["classify"] = { "leat__judge" },
  ["leat_desired, leat_expected"] = { "leat_asked", "leat_wanted" },
  ["token_from_caller"] = { "asks_token" },
  ["deliver_missed"] = { "find_untold" },
  ["compact_input"] = { "close_gap" },
  ["connection_state, fault"] = { "warmth", "misdeed" },
  ["queue_timeout, queue_deadline"] = { "patience", "impatient" },
  ["decision"] = { "verdict" },
  ["match, apply"] = { "spoil", "leat__sandbox_hit" },
  ["unobserved_failures"] = { "orphans" },
  ["an event"] = { "news" },
}

-- The end of the string whose opening quote is at `from`; it may lack the closing one on its line.
local function string_end(text, from)
  local quote = text:sub(from, from)
  local at = from + 1
  while true do
    at = text:find("[\\\n" .. quote .. "]", at)
    if not at then return #text end
    if text:sub(at, at) ~= "\\" then return at end
    at = at + 2
  end
end

local function match_end(text, pattern, from)
  return select(2, text:find(pattern, from))
end

-- For each language, a pattern for where a token may begin, and a function that returns the token's end and
-- whether it is a comment; or nil if there is neither a comment nor a string.
local C = { start = "[\"'/]" }
function C.token(text, from)
  if text:sub(from, from) ~= "/" then return string_end(text, from), false end
  return match_end(text, "^/%*.-%*/", from) or match_end(text, "^//[^\n]*", from), true
end

local LUA = { start = "[\"'%[%-]" }
function LUA.token(text, from)
  if text:find("^[\"']", from) then return string_end(text, from), false end
  local comment = text:find("^%-%-", from) ~= nil
  local level = text:match("^%[(=*)%[", comment and from + 2 or from)
  if level then return select(2, text:find("]" .. level .. "]", from, true)) or #text, comment end
  return comment and match_end(text, "[^\n]*", from), comment
end

-- A quote before "#" on the same line, if it is not closed there, makes that "#" a part of a string.
local SHELL = { start = "# ", comments_only = true }
function SHELL.token(text, from)
  local before = text:sub(1, from - 1):match("[^\n]*$")
  local _, double = before:gsub('"', "")
  local _, single = before:gsub("'", "")
  if (before == "" or before:find("%s$")) and double % 2 == 0 and single % 2 == 0 then
    return match_end(text, "[^\n]*", from), true
  end
end

local function language_of(path)
  if path:find("%.[ch]$") then return C end
  if path:find("%.lua$") or path:find("%.rockspec$") or path:find("%.luacheckrc$") then return LUA end
  if path:find("%.sh$") or path:find("Makefile$") or path:find("^%.ci/run$") then return SHELL end
end

local function blank(text)
  return (text:gsub("[^\n]", " "))
end

-- Returns two copies of the text, with blanks in the place of everything but its code, or but its comments.
local function split(text, language)
  local code, comments = {}, {}
  local at, from = 1, 1
  while true do
    from = text:find(language.start, from)
    if not from then break end
    local to, is_comment = language.token(text, from)
    if to then
      local token = text:sub(from, to)
      code[#code + 1] = text:sub(at, from - 1) .. blank(token)
      comments[#comments + 1] = blank(text:sub(at, from - 1)) .. (is_comment and token or blank(token))
      at = to + 1
    end
    from = (to or from) + 1
  end
  code[#code + 1], comments[#comments + 1] = text:sub(at), blank(text:sub(at))
  return table.concat(code), table.concat(comments)
end

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = line end
  return lines
end

local function report(found, line, text, advice)
  found[#found + 1] = { line = line, text = text:match("^%s*(.-)%s*$"), advice = advice }
end

local function find_words(found, text, lines, words)
  local lower = text:lower()
  for instead, retired in pairs(words) do
    for _, word in ipairs(retired) do
      local pattern = "%f[%a]" .. word:gsub(" ", "[%%s*#-]+") .. "%f[%A]"
      for at in lower:gmatch("()" .. pattern) do
        local _, number = text:sub(1, at):gsub("\n", "")
        report(found, number + 1, lines[number + 1], ('write "%s", not "%s"'):format(instead, word))
      end
    end
  end
end

-- A comment that is alone on its line and begins below another, in the same column, continues that one.
local function find_dangling(found, comments, code, lines, language)
  local above -- the column of the comment in the line before
  local inside = false -- a block that has not ended
  for number, comment in ipairs(comments) do
    local column = comment:find("%S")
    local continues = inside or (column and column == above and not code[number]:find("%S"))
    local word = comment:match("^%s*/?[%*/#%-!<%[]*%s*(%a+)")
    if word and not continues and DANGLING[word:lower()] then
      report(found, number, lines[number], ('write a sentence: it begins with "%s"'):format(word))
    end
    if language == C and column then inside = not comment:find("%*/%s*$") and (inside or comment:find("/%*") ~= nil) end
    above = column
  end
end

local function check(text, language)
  local found = {}
  local lines = lines_of(text)
  local code, comments = split(text, language)
  find_dangling(found, lines_of(comments), lines_of(code), lines, language)
  find_words(found, comments, lines, IN_COMMENTS)
  find_words(found, comments, lines, EVERYWHERE)
  if not language.comments_only then find_words(found, code, lines, EVERYWHERE) end
  table.sort(found, function(a, b) return a.line < b.line end)
  return found
end

-- Planted examples: the lines that must be found in each.
local EXAMPLES = {
  { C, "/* Of a call. */\nint a; /* whose it is */\n/* The one\n * that is meant. */\n", "1 2" },
  { C, "int in_doubt;\n/* It stands in\n * line. */\nchar *s = \"dice /* of it */\"; /* no dice */\n", "1 2 4" },
  { C, "/* A mended one, Patience, LEAT_AGAIN_UNTIL_GONE */ int amend, again;\n", "1 1 1 1" },
  { LUA, "-- Nor this.\n-- The other,\n-- that is fine.\nlocal a = 1 -- which is it\n", "1 4" },
  { LUA, "local s = '-- of', [[\n-- of\n]] -- fine\n--- That.\nlocal when_unknown = 1\n", "4 5" },
  { SHELL, "#!/bin/sh\n# Who.\n# of\necho '# of' \"$#\" # that\necho whoever\n", "2 4" },
}

local function check_itself()
  for number, example in ipairs(EXAMPLES) do
    local lines = {}
    for i, found in ipairs(check(example[2], example[1])) do lines[i] = found.line end
    local got = table.concat(lines, " ")
    if got ~= example[3] then
      error(("words.lua: example %d: lines %s found, not %s"):format(number, got, example[3]), 0)
    end
  end
end

local function tracked()
  local pipe = assert(io.popen("git ls-files"))
  local paths = {}
  for path in pipe:lines() do paths[#paths + 1] = path end
  pipe:close()
  assert(#paths > 0, "git lists no files")
  return paths
end

check_itself()
local count, files = 0, 0
for _, path in ipairs(#arg > 0 and arg or tracked()) do
  local language = language_of(path)
  local file = language and io.open(path, "rb")
  if file then
    files = files + 1
    for _, found in ipairs(check(file:read("*a"), language)) do
      count = count + 1
      print(("%s:%d: %s: %s"):format(path, found.line, found.text, found.advice))
    end
    file:close()
  end
end
print(("words: %d files, %d to change"):format(files, count))
os.exit(count == 0 and 0 or 1)
