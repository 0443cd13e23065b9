-- Prints all encodings of any eight bytes of the given secrets, one per line: unchanged,
-- percent-encoded, in hexadecimal, escaped as in JSON, and in base64 at any alignment.
--    lua5.4 spec/support/canary.lua SECRET...
local PIECE = 8

local function each_byte(text, format, class)
  return (text:gsub(class or ".", function(c)
    return format:format(c:byte())
  end))
end

-- Returns the base64 digits that depend on these bytes alone, if they begin `before` bytes into a triple.
local function base64(text, before, alphabet)
  local bits = ("0"):rep(8 * before)
  for i = 1, #text do
    for bit = 7, 0, -1 do
      bits = bits .. math.floor(text:byte(i) / 2 ^ bit) % 2
    end
  end
  local digits = {}
  for at = 6 * math.ceil(8 * before / 6), #bits - 6, 6 do
    local digit = tonumber(bits:sub(at + 1, at + 6), 2)
    digits[#digits + 1] = alphabet:sub(digit + 1, digit + 1)
  end
  return table.concat(digits)
end

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
local DIGITS = LETTERS .. LETTERS:lower() .. "0123456789"

local function forms(piece)
  local all = {
    piece,
    each_byte(piece, "%%%02X", "[^%w._~-]"), each_byte(piece, "%%%02x", "[^%w._~-]"),
    each_byte(piece, "%%%02X"), each_byte(piece, "%%%02x"),
    each_byte(piece, "%02X"), each_byte(piece, "%02x"),
    each_byte(piece, "\\%c", '[/"\\]'), each_byte(piece, "\\u%04x", "[^%w ]"), each_byte(piece, "\\u%04X", "[^%w ]"),
  }
  for before = 0, 2 do
    all[#all + 1] = base64(piece, before, DIGITS .. "+/")
    all[#all + 1] = base64(piece, before, DIGITS .. "-_")
  end
  return all
end

local seen = {}
for _, secret in ipairs(arg) do
  for i = 1, #secret - PIECE + 1 do
    for _, form in ipairs(forms(secret:sub(i, i + PIECE - 1))) do
      if not seen[form] then
        print(form)
      end
      seen[form] = true
    end
  end
end
