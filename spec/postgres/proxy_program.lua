-- Passes connections on to another server, and cuts some of them. A connection to PostgreSQL must not be encrypted.
--   LUA proxy_program.lua HOST TARGET_HOST TARGET_PORT FILE [LIFE COMMITS]
-- Listens on a port of HOST, and writes the number to FILE. Afterwards it appends a line each time that it cuts a
-- connection: `any`, at a random time within LIFE seconds, but the first connection soon; and after so many COMMITS,
-- by turns, `before` a commit is passed on, or `after` that, so that its acknowledgement is lost.
local socket = require("socket")

local host, target_host, target_port, path, life, commits = (table.unpack or unpack)(arg) -- luacheck: ignore
life, commits = tonumber(life), tonumber(commits) or math.huge

local PART = 65536
local COMMIT = "commit%z" -- as libpq sends it

local listener = assert(socket.bind(host, 0))
local ends = {} -- by socket
local sockets = { listener }

local function log(word)
  local file = assert(io.open(path, "a"))
  file:write(word, "\n")
  file:close()
end

local function forget(one)
  for i, other in ipairs(sockets) do
    if other == one.socket then
      table.remove(sockets, i)
      break
    end
  end
  ends[one.socket] = nil
  one.socket:close()
end

-- Ends both connections.
local function cut(one, word)
  forget(one.other)
  forget(one)
  if word then
    log(word)
  end
end

local function add(connection, is_client)
  connection:settimeout(0)
  connection:setoption("tcp-nodelay", true)
  ends[connection] = { socket = connection, is_client = is_client }
  sockets[#sockets + 1] = connection
  return ends[connection]
end

local is_first = true -- it is cut before accidents can end it, so that there is a cut in any case

local function accept()
  local client = listener:accept()
  local server = client and socket.connect(target_host, target_port)
  if not server then
    return client and client:close()
  end
  local one, other = add(client, true), add(server, false)
  one.other, other.other = other, one
  one.dies_at = life and socket.gettime() + (is_first and 0.5 or math.random() * life)
  is_first = false
end

-- Returns false if the connection was lost.
local function send(connection, data)
  connection:settimeout(10)
  local sent = connection:send(data)
  connection:settimeout(0)
  return sent ~= nil
end

local committed, turn = 0, "before"

-- Returns what is to happen to the connection of a client that sends this: `before`, `after` or nil.
local function next_cut(one, data)
  committed = committed + (one.is_client and data:find(COMMIT) and 1 or 0)
  if committed >= commits then
    local cut_now = turn
    committed, turn = 0, turn == "before" and "after" or "before"
    return cut_now
  end
end

local function pass(one)
  local all, why, part = one.socket:receive(PART)
  local data = all or part
  local when = next_cut(one, data)
  if when == "before" then
    cut(one, when)
  elseif data ~= "" and not send(one.other.socket, data) or why == "closed" then
    cut(one)
  elseif when == "after" then
    socket.sleep(0.02) -- it is committed meanwhile
    cut(one, when)
  end
end

-- Cuts the connections whose time has come.
local function cut_old()
  local old = {}
  for _, one in pairs(ends) do
    old[#old + 1] = one.dies_at and one.dies_at < socket.gettime() and one or nil
  end
  for _, one in ipairs(old) do
    cut(one, "any")
  end
end

math.randomseed(math.floor(socket.gettime() * 1000) % 2 ^ 31)
log((select(2, listener:getsockname())))
while true do
  local ready = socket.select(sockets, nil, 0.1)
  for _, one in ipairs(ready) do
    if one == listener then
      accept()
    elseif ends[one] then
      pass(ends[one])
    end
  end
  cut_old()
end
