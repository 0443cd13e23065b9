# Makes comments of Doxygen's of a header's: "/* text */" before what it explains, or behind it on the same line.
s/^\/\* ----.*//
s|^\( *\)/\*|\1/**|
s|\([^ ].*\) /\* |\1 /**< |
s|^\( *\)\*\* |\1 * |
s|^\( *\)\*\*$|\1 *|
1s/$/ @file/
