/**
 * The behaviour suite with a real Apache in front of a container's port, with the directives that docs/servers.md
 * names.
 */

import { noApacheProxy, startApacheProxy } from '../support/apache.ts'
import { FIXTURES, faultsOf, startGantry } from '../support/gantry.ts'
import { directivesOf } from '../support/servers-page.ts'
import { type Arrangement, overHttp } from './arrangement.ts'
import { behaviour } from './behaviour.ts'

/** What Apache changes, whatever its configuration. */
const front: NonNullable<Arrangement['without']> = {
  framing: 'Apache frames the answer',
  departure: 'Apache looks at its client only when it writes',
  'streamed-upload': 'Apache keeps the first chunks back',
  duplex: 'Apache keeps the first chunks back',
  'request-trailers': 'Apache drops them',
  'response-trailers': 'Apache drops them',
  'raw-headers': 'Apache writes heads of its own',
  'absolute-form': 'Apache makes a path of it',
  star: 'Apache answers it itself',
  strangers: 'the container trusts Apache, which passes X-Forwarded-For of its client on',
  http10: 'Apache ends what it cuts, where HTTP/1.0 has no length',
}

/** What Apache answers or changes by itself. */
const own: Readonly<Record<string, string>> = {
  'is not made of /environ/%00: 400': 'Apache answers 404',
  'has repeated headers joined, cookies by semicolons': 'Apache joins cookies with a comma',
}

/** Sentences that do not hold behind Apache, and why. */
function lacking(sentences: Readonly<Record<string, string>>): NonNullable<Arrangement['lacks']> {
  return (sentence) => {
    const before = sentences[sentence] ?? own[sentence]
    return before === undefined ? undefined : { before }
  }
}

function behind(
  name: string,
  directives: (port: number) => readonly string[],
  without: NonNullable<Arrangement['without']>,
  lacks: NonNullable<Arrangement['lacks']>,
): void {
  behaviour({
    name: `Apache ${name}`,
    without: { ...front, ...without },
    lacks,
    unavailable: noApacheProxy,
    async start() {
      const container = await startGantry(['container', FIXTURES, '--listen', '127.0.0.1:0', '--access-log', 'off'])
      const apache = await startApacheProxy(directives(container.port)).catch(async (error) => {
        await container.child.end()
        throw error
      })
      const running = overHttp({ port: apache.port }, async () => {
        await apache.stop()
        await container.child.end()
      })
      return { ...running, broken: () => [...faultsOf(container), ...(running.broken?.() ?? [])] }
    },
  })
}

behind(
  'mod_proxy_http',
  (port) => directivesOf('apache', 0, port),
  { 'chunked-upload': 'Apache gives a length to what it has whole' },
  lacking({}),
)

behind(
  'mod_proxy_uwsgi',
  (port) => directivesOf('apache', 1, port),
  {
    upgrade: 'uwsgi has none',
    cut: 'Apache takes a lost connection to a uwsgi server for the end of the body, if it has no length',
    hints: 'Apache takes a 103 for the response',
    'raw-target': 'Apache normalizes the path',
    'chunked-upload': 'Apache answers 411',
    'bulk-duplex': 'Apache answers 411',
    expect: 'Apache answers it itself',
  },
  lacking({
    'of chunks arrives as plain bytes': 'Apache answers 411 to an upload of unknown length',
    'of 8 MB in chunks arrives byte for byte': 'Apache answers 411 to an upload of unknown length',
  }),
)
