// Lists of elements that stay the same over updates, so that focus, selection and scrolling stay where they are.

export class Rows {
  #parent;
  #template;
  #keyOf;
  #fill;
  #create;
  #rows = new Map();

  /**
   * @param {Element} parent
   * @param {HTMLTemplateElement} template its elements with `data-part` are handed on by that name
   * @param {{key: (item) => string, create?: (parts: object, key: string) => void, fill: (parts: object, item: object) => void}} how
   */
  constructor(parent, template, { key, create = () => {}, fill }) {
    this.#parent = parent;
    this.#template = template;
    this.#keyOf = key;
    this.#create = create;
    this.#fill = fill;
  }

  show(items) {
    const wanted = new Set(items.map(this.#keyOf));
    for (const [key, { row }] of this.#rows) {
      if (wanted.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    let place = this.#parent.firstElementChild;
    for (const item of items) {
      const key = this.#keyOf(item);
      const { row, parts } = this.#rows.get(key) ?? this.#new(key);
      this.#fill(parts, item);
      if (row === place) place = row.nextElementSibling;
      else this.#parent.insertBefore(row, place);
    }
  }

  #new(key) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const parts = { row };
    for (const part of row.querySelectorAll('[data-part]')) parts[part.dataset.part] = part;
    this.#create(parts, key);
    const entry = { row, parts };
    this.#rows.set(key, entry);
    return entry;
  }
}
