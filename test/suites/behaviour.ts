/**
 * The behaviour suite: what a client sees of the contract and what an application sees of a request, in sentences that
 * hold in every arrangement. If an arrangement lacks a feature, the test is skipped with the reason.
 */

import { describe } from 'node:test'
import type { Arrangement } from './arrangement.ts'
import { badApplications } from './behaviour/bad-applications.ts'
import { clientsThatGo } from './behaviour/clients-that-go.ts'
import { connections } from './behaviour/connections.ts'
import { environs } from './behaviour/environs.ts'
import { inputs } from './behaviour/inputs.ts'
import { nodeListeners } from './behaviour/node-listeners.ts'
import { responses } from './behaviour/responses.ts'
import { streams } from './behaviour/streams.ts'
import { makeSuite } from './behaviour/suite.ts'
import { upgrades } from './behaviour/upgrades.ts'

/**
 * The fixture applications run under lint. Tests talk to them in requests alone (`test/apps/journal.ts`), so their process
 * does not matter. Nothing here sleeps: a test waits for an event, or for bytes.
 */
export function behaviour(arrangement: Arrangement): void {
  const { name, unavailable } = arrangement
  const skip = unavailable !== undefined && !process.env['CI'] ? unavailable : false
  describe(`behaviour over ${name}`, { skip }, () => {
    const suite = makeSuite(arrangement)
    responses(suite)
    environs(suite)
    inputs(suite)
    streams(suite)
    clientsThatGo(suite)
    badApplications(suite)
    upgrades(suite)
    nodeListeners(suite)
    connections(suite)
  })
}
