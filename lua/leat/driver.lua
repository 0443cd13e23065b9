--- What drivers share. For the modules of leat, and for who writes a driver.
--
-- A driver is a table with a method `perform(call, hooks)`, which returns when the call is
-- done; or returns why it must not be carried here, which is raised as misuse. `hooks` holds
-- functions of the client's: `token()`, to be asked when the call wants one (`give_token`
-- does so), and maybe `attempts()`, to be called now and then between two exchanges; it is
-- called anyhow when `perform` returns. And `blocking`, the option of that name; and
-- `token_timeout`, the seconds after which a driver that can may give up a token function. The call is
-- good until `perform` returns; a driver that keeps none beyond that may say so by `forgets`,
-- true: then its userdata may be that of the next.
-- @module leat.driver

local driver = {}

--- Asks the user's function `ask` for a token, for `call`, which wants one; `ms` and `unix`
-- are the driver's clocks. The function returns a token and, if it knows, for how many
-- seconds it is good; or nil and why not.
-- @param call
-- @tparam number ms
-- @tparam number unix
-- @tparam function ask
function driver.give_token(call, ms, unix, ask)
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
    token and "the token function gave what is no token, or no memory is left for it"
      or "no token: " .. tostring(more or "the token function gave none"))
end

local NOTE = "(leat: this interrupted a change that may have happened or not: find it, then decide)"
local NO_MEMORY = "not enough memory\n" .. NOTE

local function add_note(why)
  return why .. "\n" .. NOTE
end

--- Raises once more the error that broke into a call, which was given up, or into what was
-- made of its answer. There may be no memory to write the note.
-- @param why
-- @param call
function driver.raise(why, call)
  if type(why) == "string" and call:may_have_happened() then
    local fine, text = pcall(add_note, why)
    why = fine and text or NO_MEMORY
  end
  error(why, 0)
end

return driver
