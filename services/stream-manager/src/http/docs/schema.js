// Schemas of OpenAPI 3.1, in words. Pure.

const PREFIX = '#/components/schemas/';

/** The name of the type that a schema refers to, or null. */
export const refName = (schema) => (schema.$ref?.startsWith(PREFIX) ? schema.$ref.slice(PREFIX.length) : null);

/** A schema as a short text: `string`, `Pick[]`, `integer or null`. */
export function typeText(schema) {
  if (!schema) return 'anything';
  const name = refName(schema);
  if (name) return name;
  const parts = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (parts) return parts.map(typeText).join(schema.allOf ? ' and ' : ' or ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === 'array') return `${typeText(schema.items)}[]`;
  return [schema.type ?? 'anything'].flat().join(' or ');
}

/** The bounds of a schema, as short texts. */
export function boundsText(schema) {
  const bounds = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) {
    bounds.push(`${schema.minimum ?? '…'} to ${schema.maximum ?? '…'}`);
  }
  if (schema.maxLength !== undefined) bounds.push(`${schema.minLength ?? 0} to ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) bounds.push(`at most ${schema.maxItems}`);
  if (schema.pattern !== undefined) bounds.push(schema.pattern);
  if (schema.default !== undefined) bounds.push(`default ${JSON.stringify(schema.default)}`);
  return bounds.join(', ');
}

/** The members of an object's schema: name, schema, whether it is always there. */
export function members(schema) {
  if (schema.allOf) return schema.allOf.flatMap(members);
  return Object.entries(schema.properties ?? {}).map(([name, member]) => ({
    name,
    schema: member,
    required: (schema.required ?? []).includes(name),
  }));
}

/** Every operation, by what it is about. */
export function operations(api) {
  const order = (api.tags ?? []).map((tag) => tag.name);
  return Object.entries(api.paths)
    .flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ method, path, operation })))
    .sort((a, b) => order.indexOf(a.operation.tags?.[0]) - order.indexOf(b.operation.tags?.[0]));
}

/** Path and query of a request, from what was typed: what is empty is left out. */
export function requestPath(path, parameters, typed) {
  const query = new URLSearchParams();
  let filled = path;
  for (const { name, in: where } of parameters) {
    const value = typed[name] ?? '';
    if (where === 'path') filled = filled.replace(`{${name}}`, encodeURIComponent(value));
    if (where === 'query' && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return filled.replace(/^\//, '') + (text ? `?${text}` : '');
}
