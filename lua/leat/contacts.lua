-- Finds contacts. For leat's own modules and its command.

local contacts = {}

-- Finds the contact with an e-mail address. Returns its uuid, or nil; then the error, if there is one, and the number
-- of requests.
function contacts.find_by_email(client, address)
  local contact, err, info = client:request("GET", "/contacts/find-one-by", { query = { email = address } })
  local uuid = type(contact) == "table" and contact.uuid
  return type(uuid) == "string" and uuid or nil, err, (err or info).attempts
end

contacts.NONE = "the service has no contact with this e-mail address"

return contacts
