-- The script that spec/hosts/neovim_host.lua runs in Neovim: it types the command, and prints the window.
local function windows()
  local found = {}
  for _, window in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(window).relative ~= "" then
      local lines = vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(window), 0, -1, true)
      found[#found + 1] = table.concat(lines, "|")
      vim.api.nvim_win_close(window, true)
    end
  end
  return table.concat(found, "||")
end

for _, value in ipairs { "0042", "0043", "none" } do
  local begun, shown, beats = vim.loop.hrtime(), "", 0
  local heart = vim.loop.new_timer()
  heart:start(0, 10, function() beats = beats + 1 end)
  vim.cmd("LeatCard " .. value)
  local returned = (vim.loop.hrtime() - begun) / 1e9
  vim.wait(10000, function()
    shown = windows()
    return shown ~= ""
  end, 5)
  heart:close()
  io.stdout:write(("%s\nreturned %.3f, shown %.3f, beats %d\n"):format(shown, returned,
    (vim.loop.hrtime() - begun) / 1e9, beats))
end
