-- Does to a journal what a power failure would have done: of what was not synced nothing is left, or a part.
--   LUA power_failure.lua JOURNAL IMAGES SEED
-- IMAGES is the folder in which kill_points.c keeps the files as they were synced. SEED is 0 if nothing else survives;
-- otherwise it picks which of the later sectors do, either those before a point or any.
local path, images, seed = arg[1], arg[2], tonumber(arg[3])

local read = dofile("spec/support/read.lua")

local SECTOR = 512

-- Returns sectors of `now` and of `synced`, as `survives(i)` says of the i-th one. Where nothing was written there
-- are zeros.
local function mix(now, synced, survives)
  local parts = {}
  for i = 0, math.max(#now, #synced) - 1, SECTOR do
    local later, earlier = now:sub(i + 1, i + SECTOR), synced:sub(i + 1, i + SECTOR)
    local part = survives(i / SECTOR) and later or earlier
    parts[#parts + 1] = part .. ("\0"):rep(math.max(#later, #earlier) - #part)
  end
  return table.concat(parts)
end

local function fail(name, image)
  local now, synced = read(name, true), read(image, true)
  if not now then
    return
  elseif seed == 0 and not synced then
    return os.remove(name)
  end
  synced = synced or ""
  local left = synced
  if seed % 2 == 1 then
    local most = math.floor(#now / SECTOR)
    local cut = math.random(0, most)
    left = mix(now:sub(1, math.max(#synced, cut * SECTOR)), synced, function(i) return i < cut end)
  elseif seed > 0 then
    left = mix(now, synced, function() return math.random(2) == 1 end)
  end
  local file = assert(io.open(name, "wb"))
  file:write(left)
  file:close()
end

math.randomseed(seed)
for _, suffix in ipairs { "", "-wal", "-journal" } do
  fail(path .. suffix, images .. "/image" .. suffix)
end
os.remove(path .. "-shm")
