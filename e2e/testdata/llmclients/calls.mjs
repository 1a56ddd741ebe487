// What the official client of OpenAI for Node gets from the API, as one JSON object.
// Run it in a folder where npm has installed that client.
import { createRequire } from 'node:module';

const OpenAI = createRequire(process.cwd() + '/')('openai');
const { URL, OUTAGE, IMPATIENT, TOKEN } = process.env;
const LONG = 'x'.repeat(17 << 20); // more than a body may have
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'weather', description: 'Tell the weather of a city.', parameters } }];
const came = {};

async function call(name, work) {
  try {
    came[name] = await work();
  } catch (e) {
    came[name] = e.status ? { raised: e.constructor.name, status: e.status, code: e.code } : { raised: e.constructor.name, message: e.message };
  }
}

const gpt = (options) => new OpenAI({ baseURL: URL + '/v1', apiKey: TOKEN, maxRetries: 0, ...options });
const chat = (model, { client, content = 'Hello', ...more } = {}) =>
  gpt(client).chat.completions.create({ model, messages: [{ role: 'user', content }], ...more });
const text = async (...args) => (await chat(...args)).choices[0].message.content;

async function stream(model) {
  const parts = [];
  for await (const chunk of await chat(model, { stream: true })) parts.push(chunk.choices[0]?.delta.content ?? '');
  return { text: parts.join(''), several: parts.length > 2 };
}

async function tool() {
  const called = (await chat('tools', { tools })).choices[0].message.tool_calls[0].function;
  return [called.name, JSON.parse(called.arguments)];
}

async function toolStream() {
  let name = '', args = '';
  for await (const chunk of await chat('tools', { tools, stream: true })) {
    for (const called of chunk.choices[0]?.delta.tool_calls ?? []) {
      name += called.function.name ?? '';
      args += called.function.arguments ?? '';
    }
  }
  return [name, JSON.parse(args)];
}

await call('models', async () => (await gpt().models.list()).data.map((m) => m.id).sort());
await call('model', async () => (await gpt().models.retrieve('org/talks:8b')).id);
await call('chat', () => text('org/talks:8b'));
await call('chat stream', () => stream('org/talks:8b'));
await call('tools', tool);
await call('tools stream', toolStream);
await call('embeddings', async () => (await gpt().embeddings.create({ model: 'vectors', input: ['a', 'b'], encoding_format: 'float' })).data.length);
await call('headers', async () => JSON.parse(await text('headers', { client: { organization: 'org-x', project: 'p', defaultHeaders: { 'OpenAI-Beta': 'assistants=v2' } } })));
await call('401', () => text('org/talks:8b', { client: { apiKey: 'sk-none' } }));
await call('403', () => text('vectors'));
await call('404', () => text('nothing'));
await call('413', () => text(LONG));
await call('429', () => text('busy'));
await call('503', () => text('org/talks:8b', { client: { baseURL: OUTAGE + '/v1' } }));
await call('cut stream', () => stream('broken'));
await call('repeated', () => text('flaky', { client: { maxRetries: 2 }, content: 'node' }));
await call('time-out', () => text('slow', { client: { baseURL: IMPATIENT + '/v1', maxRetries: 2 }, content: 'node' }));
console.log(JSON.stringify(came));
