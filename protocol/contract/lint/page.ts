/**
 * `docs/contract.md`: the rules as a page to be read by who writes an application, a server or middleware. It is made from the rules
 * themselves, and what is written here beside them is only what leads from one to the next. Nothing imports it but the build.
 */

import { type Rule, rulesByTopic, type Topic } from './rules.ts'

const intro = `# The contract

An application is a function. It is called with the request, an \`environ\`, and a function that begins the response, \`startResponse\`; it gives
back the body as an iterable of bytes. That is [PEP 3333](https://peps.python.org/pep-3333/) (WSGI) in TypeScript: what blocks in Python is a promise or
an async iterable here, and nothing else differs.

\`\`\`ts
type Headers       = Array<[name: string, value: string]>
type Write         = (chunk: Uint8Array) => Promise<void>              // resolves once there is room for more
type StartResponse = (status: string, headers: Headers, excInfo?: unknown) => Write
type Body          = (Iterable<Uint8Array> | AsyncIterable<Uint8Array>) & { close?(): void | Promise<void> }
type Application   = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>
type Middleware    = (application: Application) => Application
\`\`\`

\`\`\`ts
export const application: Application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('Hello world!\\n')]
}
\`\`\`

Every rule below is checked by \`lint\`, and this page is written from its rules by \`npm run docs\`: the two cannot disagree. **Owed by** says who breaks
the rule: the *application* is whoever is called, the *server* whoever calls it. **Middleware is both**: a server to the application inside it, and an application
to the server around it, so that all rules are its own.

## Checking it

\`\`\`ts
import { lint } from 'gantry/protocol'

const watched = lint(application)      // an Application: serve it, or call it in a test
watched.assertClosed()                 // once all requests are over: no body was left open
\`\`\`

Whoever breaks a rule has a \`ContractError\` thrown at it: \`code\` (stable, as in the tables), \`blame\` (\`server\` or \`application\`), \`rule\` (the sentence) and
\`source\`. Nothing is delayed, buffered or altered. \`lint(application, { report })\` tells of each broken rule before it is thrown, for servers that answer
500 to whatever is thrown; \`{ only: 'application' }\` checks one side alone. Middleware is tested with lint on both of its sides: \`lint(middleware(lint(application)))\`.
`

const topics: { readonly [T in Topic]: { readonly title: string; readonly text: string } } = {
  call: {
    title: 'The call',
    text: 'One call is one request. The environ belongs to the application from here on: it may add, change and remove variables, and no later request sees that.',
  },
  environ: {
    title: 'The environ',
    text: `Strings are *native strings*: bytes as latin1, each code unit at most U+00FF. \`PATH_INFO\` is percent-decoded once; \`REQUEST_URI\` is the raw target.

- Always there: \`REQUEST_METHOD\`, \`SCRIPT_NAME\`, \`PATH_INFO\`, \`QUERY_STRING\`, \`SERVER_NAME\` and \`SERVER_PORT\` (never empty), \`SERVER_PROTOCOL\`, \`REQUEST_URI\`,
  \`REMOTE_ADDR\`, \`REMOTE_PORT\`, \`REQUEST_SCHEME\`, \`SERVER_SOFTWARE\`, \`GATEWAY_INTERFACE\` (\`CGI/1.1\`).
- Where they apply: \`CONTENT_TYPE\` and \`CONTENT_LENGTH\` when the client sent them, \`HTTPS\` (\`on\`), and \`HTTP_*\` for the other headers: the name upper-cased with \`_\` for
  \`-\`, repeated ones joined with \`, \` (Cookie with \`; \`). A header whose name holds \`_\` is dropped, since it would shadow its dashed twin.
- \`wsgi.version\` (\`[1, 0]\`), \`wsgi.url_scheme\`, \`wsgi.input\`, \`wsgi.errors\`, \`wsgi.multithread\`, \`wsgi.multiprocess\`, \`wsgi.run_once\`, \`wsgi.file_wrapper\`,
  \`wsgi.input_terminated\` (\`true\`), and \`gantry\` (below).`,
  },
  input: {
    title: 'wsgi.input: the request’s body',
    text: 'Read once, forwards: `read(size?)`, `read1(size?)`, `readline(size?)`, `readlines(hint?)`, all of them promises, or `for await`. An unread upload does not fill memory, and reading never hangs at the end.',
  },
  streams: {
    title: 'wsgi.errors and wsgi.file_wrapper',
    text: '`wsgi.errors` has `write(text)`, `writelines(lines)` and `flush()`; lines go to the container’s log with the request’s id. `wsgi.file_wrapper(file, blockSize?)` makes a body of a file.',
  },
  start: {
    title: 'startResponse',
    text: 'It is called before the application returns, or at the first iteration of its body. The head leaves with the first chunk that is not empty, the first `write`, or the end of the body. Until then a failure may replace it: `startResponse(status, headers, error)`; after that the same call throws the error back, and the response is cut so that the client sees it.',
  },
  head: {
    title: 'Status and headers',
    text: 'The application says what the response is, the gateway how it crosses the wire: framing, transfer codings and the connection are not the application’s, and `Date` and `Server` are added where it gave none.',
  },
  write: {
    title: 'write',
    text: '`startResponse` returns it, for applications that cannot give an iterable. What is written comes before what is iterated; an empty chunk sends the head. Await what it returns: it resolves once there is room for more.',
  },
  body: {
    title: 'The body',
    text: 'An array, a generator, a stream, anything iterable. An array is sent whole; of all else a chunk is on its way before the next is asked for. HEAD, 204, 205 and 304 have no body on the wire, whatever is given.',
  },
  close: {
    title: 'Reading and closing the body',
    text: 'The server’s side of the body. `close()` is where an application lets go of what the response held, however it ended.',
  },
  gantry: {
    title: 'environ.gantry',
    text: `What Gantry knows of a request beyond PEP 3333, made when it is first asked for: \`signal\` (aborted when the client is gone, a deadline passed or a drain timed out),
\`requestId\`, \`rawHeaders\` (the header lines as received), \`draining\`, \`leaving\` (true during the drain delay already), \`earlyHints(headers)\`, \`trailers(fn)\`, \`upgrade()\` and \`onFinished(fn)\`. After an abort
nobody is blamed for what then fails.`,
  },
}

const unseen = `## What lint cannot see

Lint stands between a server and an application, and sees what one asks of the other. These are rules too, for who writes a gateway; Gantry's own are tested for them on each wire.

- The head leaves with the first chunk that is not empty, the first \`write()\`, or the end of the body: not before, and not later.
- No chunk is delayed for the next one. A long synchronous body lets other requests run at least every 64 KiB.
- Once the head is sent and the application fails, the response is aborted visibly (connection cut, stream reset), never ended as if whole. So is one shorter than
  its Content-Length; more bytes than that are not sent. Both are logged.
- An application that throws before the head has left is answered with \`500\`, and a log line with the stack and the request's id. The client sees nothing of either.
- \`Expect: 100-continue\` is answered when the application first reads the input: never to HTTP/1.0, never after the final head.
- After an abort a pending \`next()\` is awaited for at most 5 s, then the body is closed. \`write\`s that nobody awaits and that pass 1 MiB abort the response.
- An early response to an unread upload: up to 64 KiB of the rest are read and dropped, else the connection is half-closed and read for at most 2 s
  ([RFC 9112 §9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)), so that the client sees the answer.
- Whether an array is iterated twice: it is handed on as an array, so that it is still sent whole.
`

/** The page, whole. */
export function contractPage(): string {
  const sections = (Object.keys(topics) as Topic[]).map((topic) => {
    const { title, text } = topics[topic]
    return `## ${title}\n\n${text}\n\n${table(rulesByTopic[topic])}`
  })
  return [intro, ...sections, unseen].join('\n')
}

function table(rules: Readonly<Record<string, Rule>>): string {
  const rows = Object.entries(rules).map(
    ([code, { owes, sentence, source }]) => `| ${cell(sentence)} | ${owes} | \`${code}\` | ${links(source)} |`,
  )
  return `| Rule | Owed by | Code | Source |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('*', '\\*')
}

function links(source: string): string {
  return source.split('; ').map(link).join(', ')
}

/** Where it is to be read: the anchors are docutils' (PEPs) and the RFC editor's. */
function link(source: string): string {
  const pep = /^PEP 3333, (.+)$/.exec(source)
  if (pep) {
    const anchor = pep[1]!
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-|-$/g, '')
    return `[PEP 3333](https://peps.python.org/pep-3333/#${anchor})`
  }
  const rfc = /^RFC (\d+) §([\d.]+)$/.exec(source)
  if (rfc) return `[${source}](https://www.rfc-editor.org/rfc/rfc${rfc[1]}#section-${rfc[2]})`
  return source
}
