// Keys of channels, remembered for this tab only: they are gone with it, and no other tab or site sees them.

const PREFIX = 'relaycast.key.';

export const rememberedKey = (channel) => sessionStorage.getItem(PREFIX + channel) ?? '';

export const rememberKey = (channel, key) => sessionStorage.setItem(PREFIX + channel, key);
