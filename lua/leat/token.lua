-- Asks the user's function for a token. For drivers.

-- `call` is one that asks for a token; `ms` and `unix` are the driver's clocks. The function
-- returns a token and, if it knows, for how many seconds it is good; or nil and why not.
return function(call, ms, unix, ask)
  local token, more
  if ask then
    token, more = ask()
  else
    more = "nobody is there to ask"
  end
  if type(token) == "string" and call:give(ms, unix, token, tonumber(more)) then
    return
  end
  call:fail(ms, unix, "unauthorized", "no",
    token and "the token function gave what is no token" or "no token: " .. tostring(more))
end
