-- Inserts the rows of a file into a table like the journal's, in one transaction: the least that loading costs.
--    jobs_insert.lua FILE DATABASE
local sqlite = require("leat.sqlite.core")

local file, db = assert(io.open(arg[1], "rb")), assert(sqlite.open(arg[2]))
assert(db:exec([[
  pragma journal_mode = wal; pragma synchronous = full;
  create table item (job integer, n integer, line integer, card text, arguments text, bytes blob, state text,
    primary key (job, n)) without rowid;
  begin]]))
local insert = assert(db:prepare("insert into item values (1, $1, $2, $3, $4, $5, 'ready')", "iittb"))
local n = 0
file:read("*l") -- the header
for line in file:lines() do
  local value, rest = line:match("^([^,]*),(.*)\r$")
  n = n + 1
  assert(insert:execute(n, n + 1, value, rest, line .. "\n"))
end
assert(db:exec("commit"))
db:close()
