/**
 * The behaviour suite: what a client sees of the contract, and what an application sees of a request, in sentences that
 * hold on every way between the two. An arrangement gives the way; a test that it cannot carry is skipped with the
 * reason.
 *
 * The fixture applications run under lint. They are told and asked things by requests alone (`test/apps/journal.ts`),
 * so that it does not matter in which process they are. Nothing here sleeps: a test waits for an event, or for bytes.
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
