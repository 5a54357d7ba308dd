-- The run of a node is over: so is what it said. Answers whether there may be more of it.
-- ARGV, after those of the rules: node, incarnation, how much of it at most.
local of = ARGV[7] .. ' ' .. ARGV[8]
local members = redis.call('ZRANGEBYLEX', runs, '[' .. of .. ' ', '(' .. of .. '!', 'LIMIT', 0, ARGV[9])
for _, member in ipairs(members) do
    gone(member)
end
keep()
return { #members == tonumber(ARGV[9]) and 'more' or 'done' }
