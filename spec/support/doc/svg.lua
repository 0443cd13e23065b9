-- Draws SVG: a picture is a list of shapes, and tostring() renders it. Colours are classes in STYLE; a
-- background of its own makes a picture readable on dark and on light pages.
local svg = {}
svg.__index = svg

local STYLE = [[
text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933 }
.page { fill: #ffffff; stroke: #c5ced8 }
.title { font-size: 17px; font-weight: bold }
.strong { font-weight: bold }
.small { font-size: 12px; fill: #52606d }
.right { text-anchor: end }
.axis { stroke: #c5ced8 }
.bar { fill: #9fb3c8 }
.ours { fill: #2f8f63 }
.range { stroke: #1f2933; stroke-width: 1.5 }]]

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

--- Returns a page of that size. The title and the description are for screen readers.
function svg.new(width, height, title, description)
  local picture = setmetatable({ lines = {} }, svg)
  picture:add('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
    .. 'role="img" aria-labelledby="title desc">', width, height, width, height)
  picture:add('<title id="title">%s</title>\n<desc id="desc">%s</desc>', escape(title), escape(description))
  picture:add("<style>\n%s\n</style>", STYLE)
  picture:add('<rect x="0.5" y="0.5" width="%g" height="%g" rx="6" class="page"/>', width - 1, height - 1)
  return picture
end

function svg:add(format, ...)
  self.lines[#self.lines + 1] = format:format(...)
end

function svg:bar(x, y, width, height, class)
  self:add('<rect x="%g" y="%g" width="%g" height="%g" class="%s"/>', x, y, width, height, class)
end

function svg:text(x, y, text, class)
  self:add('<text x="%g" y="%g"%s>%s</text>', x, y, class and (' class="%s"'):format(class) or "", escape(text))
end

function svg:line(x1, y1, x2, y2, class)
  self:add('<line x1="%g" y1="%g" x2="%g" y2="%g" class="%s"/>', x1, y1, x2, y2, class)
end

function svg:__tostring()
  return table.concat(self.lines, "\n") .. "\n</svg>\n"
end

return svg
