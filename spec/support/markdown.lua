-- Reads the documentation, for the specs that check it.
local markdown = {}

markdown.read = dofile("spec/support/read.lua")

--- Returns the fenced blocks, a list of { language =, text =, line =, last =, title = }: the words after
-- the three backticks, the lines where the text begins and the block ends, and the heading above.
function markdown.blocks(path)
  local blocks, title, block, number = {}, "", nil, 0
  for line in (markdown.read(path) .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local fence = line:match("^```(.*)$")
    if fence and block then
      block.text = table.concat(block.lines, "\n") .. "\n"
      block.last = number
      blocks[#blocks + 1], block = block, nil
    elseif fence then
      block = { language = fence, lines = {}, line = number + 1, title = title }
    elseif block then
      table.insert(block.lines, line)
    else
      title = line:match("^#+ (.*)$") or title
    end
  end
  assert(not block, path .. ": a block has no end")
  return blocks
end

--- Returns the examples in a module's comments, which are indented by four blanks, as a list like that of `blocks`.
function markdown.examples(path)
  local blocks, block, number = {}, nil, 0
  for line in (markdown.read(path) .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local text = line:match("^%-%-    (.*)$")
    if text and text:find("^%S") and not block then
      block = { language = "lua", lines = {}, line = number }
      blocks[#blocks + 1] = block
    end
    if block and (text or line == "--") then
      table.insert(block.lines, text or "")
    else
      block = nil
    end
  end
  for _, one in ipairs(blocks) do
    one.text = table.concat(one.lines, "\n") .. "\n"
  end
  return blocks
end

--- Returns the documents: the READMEs and similar files, and the guides.
function markdown.documents()
  local list = { "README.md", "CONTRIBUTING.md", "SECURITY.md", "spec/README.md" }
  local pipe = assert(io.popen("ls docs/*.md"))
  for path in pipe:lines() do
    list[#list + 1] = path
  end
  pipe:close()
  return list
end

return markdown
