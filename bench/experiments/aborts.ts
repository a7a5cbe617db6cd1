/** How long it takes from a client's reset until the application's signal. */

import { setTimeout as delay } from 'node:timers/promises'
import { answer, ask, open, requestHead } from '../measure/client.ts'
import { withFresh } from '../measure/fleet.ts'
import { median } from '../report/statistics.ts'
import { places } from '../report/table.ts'
import { attemptRound, type Experiment } from './experiment.ts'

const HEARD_MILLISECONDS = 10_000

export const aborts: Experiment = {
  name: 'aborts',
  title: 'From a client’s reset to the application’s signal',
  setups: ['pair', 'container', 'nginx-node', 'haproxy-node', 'node'],
  metrics: ['abort', 'abortWorst'],
  core: false,
  async run(bench, contestants) {
    const { ledger, say, skipped, settings } = bench
    const count = settings.quick ? 10 : 50
    await withFresh(contestants, { say, skipped, warmUpSeconds: 1 }, async (started) => {
      for (const { contestant, streamPort } of started) {
        await attemptRound(bench, 'aborts', contestant, async () => {
          const latencies: number[] = []
          for (let at = 0; at < count; at++) latencies.push(await abortOnce(streamPort, `${at}`))
          const worst = Math.max(...latencies)
          ledger.add('aborts', contestant.key, 'abort', median(latencies))
          ledger.add('aborts', contestant.key, 'abortWorst', worst)
          say(`  ${contestant.key.padEnd(20)} ${places(median(latencies))} ms, at worst ${places(worst)} ms`)
        })
      }
    })
  },
}

/** Both processes read the same clock: `process.hrtime` is Linux's CLOCK_MONOTONIC. */
async function abortOnce(port: number, key: string): Promise<number> {
  const socket = await open(port)
  socket.write(requestHead('GET', `/hold/${key}`))
  await answer(socket, 'held\n'.length)
  const start = process.hrtime.bigint()
  socket.resetAndDestroy()
  for (const deadline = performance.now() + HEARD_MILLISECONDS; performance.now() < deadline; await delay(5)) {
    const { text } = await ask(port, `/aborted/${key}`)
    if (text !== '') return Number(BigInt(text) - start) / 1e6
  }
  throw new Error(`the application did not hear of an abort within ${HEARD_MILLISECONDS} ms`)
}
