// The page: shows the operations of openapi.json, and tries those that only read.

import { boundsText, members, operations, refName, requestPath, typeText } from './schema.js';

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text is text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text in which `code` is code. */
function prose(text = '') {
  return text.split('`').map((part, i) => (i % 2 ? element('code', {}, part) : part));
}

function type(schema) {
  const name = refName(schema.type === 'array' ? schema.items : schema);
  const text = element('code', {}, typeText(schema));
  return name ? element('a', { href: `#type-${name}` }, text) : text;
}

function table(heads, rows) {
  return element(
    'div', { class: 'scroll' },
    element(
      'table', {},
      element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', { scope: 'col' }, head)))),
      element('tbody', {}, ...rows),
    ),
  );
}

function parameterTable(parameters) {
  return table(['Parameter', 'In', 'Type', 'Meaning'], parameters.map((parameter) => element(
    'tr', {},
    element('th', { scope: 'row' }, element('code', {}, parameter.name), parameter.required ? ' (needed)' : ''),
    element('td', {}, parameter.in),
    element('td', {}, type(parameter.schema), ' ', element('small', {}, boundsText(parameter.schema))),
    element('td', {}, ...prose(parameter.description)),
  )));
}

function responseTable(responses) {
  return table(['Status', 'Body', 'Meaning'], Object.entries(responses).map(([status, response]) => {
    const [[media, content] = []] = Object.entries(response.content ?? {});
    return element(
      'tr', {},
      element('th', { scope: 'row' }, status),
      element('td', {}, media ? element('small', {}, media, ' ') : '', content?.schema ? type(content.schema) : ''),
      element('td', {}, ...prose(response.description)),
    );
  }));
}

function example(operation) {
  const content = operation.responses['200']?.content?.['application/json'];
  if (!content?.example) return null;
  return element(
    'details', {},
    element('summary', {}, 'Example of an answer'),
    element('pre', { tabindex: '0' }, JSON.stringify(content.example, null, 2)),
  );
}

/** A form that sends the request from here. Requests that change something, or never end, are not sent. */
function tryIt(path, operation) {
  if (operation.responses['200']?.content?.['text/event-stream']) return null;
  const parameters = (operation.parameters ?? []).filter((parameter) => parameter.in !== 'header');
  const fields = parameters.map((parameter) => {
    const id = `${operation.operationId}-${parameter.name}`;
    const input = element('input', { id, name: parameter.name, autocomplete: 'off', spellcheck: 'false' });
    input.required = Boolean(parameter.required);
    if (parameter.name === 'key') input.type = 'password';
    return element('div', { class: 'field' }, element('label', { for: id }, parameter.name), input);
  });
  const output = element('pre', { tabindex: '0', 'aria-label': 'Answer' });
  output.hidden = true;
  const form = element('form', {}, ...fields, element('button', { type: 'submit' }, 'Send'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    send(requestPath(path, parameters, Object.fromEntries(new FormData(form))), output);
  });
  return element('details', {}, element('summary', {}, 'Try it'), form, output);
}

async function send(path, output) {
  const token = byId('token').value;
  output.hidden = false;
  output.textContent = '…';
  try {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const response = await fetch(new URL(path, document.baseURI), { headers });
    const kind = response.headers.get('content-type') ?? '';
    const body = kind.includes('json')
      ? JSON.stringify(await response.json(), null, 2)
      : `${(await response.blob()).size} bytes of ${kind}`;
    output.textContent = `${response.status} ${response.statusText}\n\n${body}`;
  } catch (error) {
    output.textContent = `No answer: ${error.message}`;
  }
}

function operationSection(method, path, operation) {
  const id = operation.operationId;
  return element(
    'section', { id, 'aria-labelledby': `${id}-title` },
    element(
      'h2', { id: `${id}-title` },
      element('span', { class: `method ${method}` }, method.toUpperCase()), ' ', element('code', {}, path),
    ),
    element('p', { class: 'summary' }, ...prose(operation.summary)),
    operation.description ? element('p', {}, ...prose(operation.description)) : null,
    operation.parameters?.length ? parameterTable(operation.parameters) : null,
    responseTable(operation.responses),
    example(operation),
    method === 'get' ? tryIt(path, operation) : null,
  );
}

function typeSection(name, schema) {
  const rows = members(schema).map((member) => element(
    'tr', {},
    element('th', { scope: 'row' }, element('code', {}, member.name), member.required ? '' : ' (or absent)'),
    element('td', {}, type(member.schema)),
    element('td', {}, ...prose(member.schema.description)),
  ));
  return element(
    'section', { id: `type-${name}` },
    element('h3', {}, element('code', {}, name)),
    element('p', {}, ...prose(schema.description)),
    rows.length ? table(['Member', 'Type', 'Meaning'], rows) : element('p', {}, element('code', {}, typeText(schema))),
  );
}

try {
  const response = await fetch(new URL('openapi.json', document.baseURI));
  const api = await response.json();
  byId('about').append(...prose(api.info.description));
  for (const { method, path, operation } of operations(api)) {
    byId('operations').append(operationSection(method, path, operation));
    const link = element('a', { href: `#${operation.operationId}` }, element('code', {}, `${method.toUpperCase()} ${path}`));
    byId('index').append(element('li', {}, link));
  }
  for (const [name, schema] of Object.entries(api.components.schemas)) byId('types').append(typeSection(name, schema));
  // What was asked for was not there when the page came.
  if (location.hash.length > 1) byId(location.hash.slice(1))?.scrollIntoView();
} catch (error) {
  byId('trouble').textContent = `openapi.json cannot be shown: ${error.message}`;
}
