-- Verifies a webhook's signature: the header `Signature` is the HMAC-SHA256 of the body.
--    WEBHOOK_SECRET=... lua5.4 examples/recipes/webhook.lua SIGNATURE <body
-- The exit status is 0 for a valid signature, and 1 for any other.
local hmac = require("openssl.hmac") -- luaossl; on Debian the package lua-luaossl
local rand = require("openssl.rand")

local function sign(key, text)
  return hmac.new(key, "sha256"):final(text)
end

local function to_hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- Signs both texts with a random key and compares the signatures, so that the time that this
-- takes reveals nothing about the texts.
local function are_equal(a, b)
  local key = rand.bytes(32)
  return sign(key, a) == sign(key, b)
end

local function is_valid(body, signature, secret)
  return are_equal(to_hex(sign(secret, body)), signature:lower())
end

local signature = assert(arg[1], "usage: webhook.lua SIGNATURE <body")
local secret = os.getenv("WEBHOOK_SECRET") or ""
assert(secret ~= "", "WEBHOOK_SECRET is not set")
-- The bytes as they arrived: JSON that is decoded and encoded again has another signature.
local body = io.read("*a")
local valid = is_valid(body, signature, secret)
print(valid and "valid" or "invalid")
os.exit(valid and 0 or 1)
