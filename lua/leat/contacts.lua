-- Finds contacts. For leat's own modules and its command.

local contacts = {}

-- Finds the contact with an e-mail address. Returns its uuid, or nil; then the error, if there is one, and the number
-- of requests.
function contacts.find_by_email(client, address)
  local contact, err, info = client:request("GET", "/contacts/find-one-by", { query = { email = address } })
  local uuid = type(contact) == "table" and contact.uuid
  return type(uuid) == "string" and uuid or nil, err, (err or info).attempts
end

-- Says that there is no contact with an e-mail address.
function contacts.not_found(address)
  return ("no contact has the e-mail address %s"):format(address)
end

return contacts
