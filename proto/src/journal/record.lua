-- Makes events of what is new in these facts, in their order. Answers the last of them, or nothing.
-- ARGV, after those of the rules, seven of each fact: what, channel, epoch, node, incarnation, word, role.
for index = 7, #ARGV, 7 do
    local what, name, epoch, node, run, word, role = unpack(ARGV, index, index + 6)
    if what == 'live' then
        runs_on(name, epoch, node, run, 'up')
    elseif what == 'stalled' then
        runs_on(name, epoch, node, run, 'limp')
    elseif what == 'ended' then
        ended(name, epoch, node, run, word)
    elseif what == 'watched' then
        watched(name, node, run)
    elseif what == 'unwatched' then
        unwatched(name, node, run)
    elseif what == 'node' then
        node_is(node, run, word)
    elseif what == 'refused' then
        refused(name, node, word, role)
    end
end
keep()
return { told }
