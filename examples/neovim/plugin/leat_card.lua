-- `:LeatCard VALUE` shows a card in a floating window, without blocking Neovim.
--
-- Put this folder on the runtimepath, and leat where Neovim's Lua (LuaJIT) finds modules: where
-- `make install LUA=luajit` puts them, or by LUA_PATH and LUA_CPATH. The key is g:leat_api_key, or
-- LEAT_API_KEY in the environment.
vim.api.nvim_create_user_command("LeatCard", function(command)
  require("leat_card").show(command.args)
end, { nargs = 1, desc = "Show a loyalty card of Leat" })
