/**
 * The behaviour suite with a real HAProxy in front of a container's port, with the options that docs/servers.md names.
 */

import { FIXTURES, faultsOf, startGantry } from '../support/gantry.ts'
import { noHaproxy, startHaproxy } from '../support/haproxy.ts'
import { directivesOf } from '../support/servers-page.ts'
import { overHttp } from './arrangement.ts'
import { behaviour } from './behaviour.ts'

behaviour({
  name: 'HAProxy',
  without: {
    framing: 'HAProxy frames the answer',
    http10: 'HAProxy ends what it cuts, where HTTP/1.0 has no length',
    'exact-head': 'HAProxy writes field names in lower case',
    'raw-headers': 'HAProxy writes field names in lower case',
    'request-trailers': 'HAProxy writes their names in lower case',
    'response-trailers': 'HAProxy writes their names in lower case',
    strangers: 'the container trusts HAProxy, which passes X-Forwarded-For of its client on',
    'absolute-form': 'HAProxy refuses an authority that differs from Host',
  },
  lacks: (sentence) =>
    /^to WebSocket carries whatever the application sends/.test(sentence)
      ? { before: 'HAProxy refuses an upgrade to WebSocket without a key' }
      : undefined,
  unavailable: noHaproxy,
  async start() {
    const container = await startGantry(['container', FIXTURES, '--listen', '127.0.0.1:0', '--access-log', 'off'])
    const options = directivesOf('haproxy', 0, container.port)
    const haproxy = await startHaproxy(`127.0.0.1:${container.port}`, options).catch(async (error) => {
      await container.child.end()
      throw error
    })
    const running = overHttp({ port: haproxy.port }, async () => {
      await haproxy.stop()
      await container.child.end()
    })
    return { ...running, broken: () => [...faultsOf(container), ...(running.broken?.() ?? [])] }
  },
})
