// The few things every part of the page does with its elements.

export const byId = (id) => document.getElementById(id);

/** Writes only what changed: assistive technology and text selections notice every write. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that shows what was typed into a password field, and hides it again. */
export function revealable(input, button) {
  button.addEventListener('click', () => {
    const reveal = input.type === 'password';
    input.type = reveal ? 'text' : 'password';
    button.setAttribute('aria-pressed', String(reveal));
    setText(button, reveal ? 'Hide' : 'Show');
  });
}
