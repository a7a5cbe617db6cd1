/**
 * Generates `docs/contract.md` from the rules, for authors of applications, servers and middleware. The texts in this
 * file introduce the rules. Only `scripts/build.ts` and tests import it.
 */

import { cgiVariableNames, WSGI_VARIABLES } from '../cgi-variables.ts'
import { type Rule, rulesByTopic, type Topic } from './rules.ts'

const intro = `# The contract

An application is a function. The server calls it with the request (\`environ\`) and a function that begins the response (\`startResponse\`). The
application returns the body as an iterable of bytes. That is [PEP 3333](https://peps.python.org/pep-3333/) (WSGI) in TypeScript, with one difference:
operations that block in Python are promises or async iterables.

\`\`\`ts
type Headers       = Array<[name: string, value: string]>
type Write         = (chunk: Uint8Array) => Promise<void>              // resolves once the server can take more
type StartResponse = (status: string, headers: Headers, excInfo?: unknown) => Write
type Body          = (Iterable<Uint8Array> | AsyncIterable<Uint8Array>) & { close?(): void | Promise<void> }
type Application   = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>
type Middleware    = (application: Application) => Application
\`\`\`

\`\`\`ts
const application: Application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('Hello world!\\n')]
}
\`\`\`

\`lint\` checks every rule below, and \`npm run docs\` generates this page from the rules of \`lint\`, so the two always agree. **Owed by** is the side
that must keep the rule: the *application* is called, the *server* calls it. **Middleware is both**: it is a server for the application inside it, and an
application for the server around it, so it must keep all rules.

## Checking it

\`\`\`ts
import { lint } from 'gantry/protocol'

const checked = lint(application)      // an Application: serve it, or call it in a test
checked.assertClosed()                 // after all requests have ended: throws if a body was not closed
\`\`\`

The side that breaks a rule gets a \`ContractError\`, with \`code\` (stable, as in the tables), \`blame\` (\`server\` or \`application\`), \`rule\` (the
sentence) and \`source\`. Nothing is delayed, buffered or changed. \`lint(application, { report })\` calls \`report\` with each error before it is thrown,
since a server answers every error with 500. \`{ only: 'application' }\` checks only one side. Test middleware with lint on both sides:
\`lint(middleware(lint(application)))\`.
`

/** Names as code, separated by commas. */
function codes(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ')
}

const always: string = codes(cgiVariableNames(({ presence }) => presence !== 'optional'))
const wsgi: string = codes(WSGI_VARIABLES)

const topics: { readonly [T in Topic]: { readonly title: string; readonly text: string } } = {
  call: {
    title: 'The call',
    text: 'One call is one request. The environ belongs to the application, which may add, change and remove variables; no other request sees the changes.',
  },
  environ: {
    title: 'The environ',
    text: `Strings are *native strings*: bytes as latin1, each code unit at most U+00FF. \`PATH_INFO\` is percent-decoded once; \`REQUEST_URI\` is the raw target.

- Always present: ${always}. \`SERVER_NAME\` and \`SERVER_PORT\` are never empty; \`GATEWAY_INTERFACE\` is \`CGI/1.1\`.
- Present if they apply: \`CONTENT_TYPE\` and \`CONTENT_LENGTH\` if the client sent them, \`HTTPS\` (\`on\`), and \`HTTP_*\` for the other headers: the name in upper
  case with \`_\` for \`-\`. Repeated headers are joined with \`, \` (Cookie with \`; \`). A header whose name contains \`_\` is dropped, since its variable
  would be that of the name with \`-\`.
- ${wsgi}, and \`gantry\` (below). \`wsgi.version\` is \`[1, 0]\`, and \`wsgi.input_terminated\` is \`true\`.`,
  },
  input: {
    title: 'wsgi.input: the request’s body',
    text: 'The application reads the body once and forwards, with `read(size?)`, `read1(size?)`, `readline(size?)` and `readlines(hint?)`, which return promises, or with `for await`. An unread upload does not fill memory, and a read at the end of the input returns at once.',
  },
  streams: {
    title: 'wsgi.errors and wsgi.file_wrapper',
    text: '`wsgi.errors` has `write(text)`, `writelines(lines)` and `flush()`; its lines go to the log of the container, with the request’s id. `wsgi.file_wrapper(file, blockSize?)` makes a body of a file.',
  },
  start: {
    title: 'startResponse',
    text: 'The application calls it before it returns, or in the first iteration of its body. The server sends the head with the first chunk that is not empty, with the first `write`, or at the end of the body. Until then the application can replace the head after a failure: `startResponse(status, headers, error)`. After that, the same call throws the error, and the response is aborted so that the client sees the failure.',
  },
  head: {
    title: 'Status and headers',
    text: 'The application decides about the content of the response. The gateway decides about its transfer: framing, transfer codings and the connection. It adds `Date` and `Server` if the application did not set them.',
  },
  write: {
    title: 'write',
    text: '`startResponse` returns `write`, for applications that cannot return an iterable. Written chunks precede the chunks of the body; an empty chunk sends the head. Await the promise that `write` returns: it resolves once the server can take more.',
  },
  body: {
    title: 'The body',
    text: 'The body is an array, a generator, a stream or another iterable. An array is sent as a whole; of other iterables each chunk is sent before the next one is requested. HEAD, 204, 205 and 304 responses are sent without a body, whatever the application returns.',
  },
  close: {
    title: 'Reading and closing the body',
    text: 'These are the rules for the server. In `close()` an application releases the resources of the response, however the response ended.',
  },
  gantry: {
    title: 'environ.gantry',
    text: `What Gantry provides for a request beyond PEP 3333. Its parts are created on first use: \`signal\` (aborts if the client disconnects, a deadline passes or a drain
times out), \`requestId\`, \`rawHeaders\` (the header lines as received), \`draining\`, \`leaving\` (already true during the drain delay), \`earlyHints(headers)\`,
\`trailers(fn)\`, \`upgrade()\` and \`onFinished(fn)\`. A failure after an abort breaks no rule.`,
  },
}

const unseen = `## What lint cannot see

Lint observes the calls between a server and an application. Authors of gateways must also keep the following rules, which lint cannot observe. Gantry tests
its own gateways for them, with every protocol.

- The head is sent with the first chunk that is not empty, with the first \`write()\`, or at the end of the body: not earlier and not later.
- No chunk is delayed until the next one. A long synchronous body lets other requests run at least every 64 KiB.
- If the application fails after the head was sent, the response is aborted so that the client sees it (connection reset, stream reset), and never ended as if it were
  complete. The same holds for a body that is shorter than its Content-Length; bytes beyond the Content-Length are not sent. Both are logged.
- If the application throws before the head was sent, the response is \`500\`, and a log line has the stack and the request's id. The client sees neither the error nor the stack.
- \`Expect: 100-continue\` is answered when the application first reads the input: never to HTTP/1.0, and never after the final head.
- After an abort the server waits at most 5 s for a pending \`next()\`, then it closes the body. \`write\`s that are not awaited abort the response when they exceed 1 MiB.
- If the response is complete before the upload, the server reads and drops up to 64 KiB of the rest; if there is more, it half-closes the connection and reads for at most 2 s
  ([RFC 9112 §9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)), so that the client sees the response.
- An array is iterated only once. Lint passes arrays on as arrays, so that they are still sent as a whole.
`

/** The text of the whole page. */
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

/** A link to the source. The anchors are those of docutils (PEPs) and of the RFC editor. */
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
