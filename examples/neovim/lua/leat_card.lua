-- What `:LeatCard` does: see plugin/leat_card.lua.
local leat, tasks = require("leat"), require("leat.tasks")

require("leat.luv").attach(vim.loop) -- Neovim's loop carries the calls of tasks

local leat_card = {}
local client

local function connect()
  client = client or leat.new {
    api_key = vim.g.leat_api_key or os.getenv("LEAT_API_KEY"),
    base_url = vim.g.leat_base_url or os.getenv("LEAT_BASE_URL"),
    blocking = false, -- a call outside of a task is a mistake, and says so
  }
  return client.contact_identifiers
end

local function describe(card, err)
  if not card then
    return vim.split(tostring(err), "\n")
  end
  local contact = card.contact
  return {
    "Card     " .. card.value,
    "Name     " .. (card.name or "-"),
    "Active   " .. (card.active == false and "no" or "yes"),
    "Contact  " .. (contact and (contact.email or contact.uuid) or "-"),
  }
end

--- Shows the card in a floating window once it is there; `q` or a move closes it.
function leat_card.show(value)
  local cards = connect()
  tasks.spawn(function()
    local lines = describe(cards:find(value))
    vim.schedule(function() -- windows are not to be opened in the middle of the loop
      vim.lsp.util.open_floating_preview(lines, "", { border = "rounded", focus_id = "leat_card" })
    end)
  end)
end

return leat_card
