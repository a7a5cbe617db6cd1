/** `gantry container` and `gantry proxy` as processes that a test starts. */

import type { Address } from '../../protocol/net/address.ts'
import { repositoryFile, TestChild } from './child.ts'
import { HELD_QUESTION, type Held } from './held.ts'

/** A started server. */
export interface Gantry {
  readonly child: TestChild
  /** The addresses on which the server reported that it listens, in order. */
  readonly addresses: readonly Address[]
  /** The first TCP port. */
  readonly port: number
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly patience?: number
  /** Preloads `test/support/held.ts`, so that the test can ask for the memory of the process. */
  readonly held?: boolean
  /** A command that runs the server, for example in another network namespace. */
  readonly through?: readonly string[]
  /** The file of the command, if it is of another copy of Gantry. */
  readonly command?: string | undefined
}

/** Starts a server and waits until it listens. */
export async function startGantry(argv: readonly string[], options: StartOptions = {}): Promise<Gantry> {
  const before = options.held ? ['--import', repositoryFile('test/support/held.ts')] : []
  const command = [...before, options.command ?? repositoryFile('cli/gantry.ts'), ...argv]
  const child = new TestChild(command, { patience: 120_000, ...options, ipc: true })
  await child.until(() => child.messages.length > 0)
  const { addresses } = child.messages[0] as { addresses: readonly Address[] }
  const tcp = addresses.find((address) => address.kind === 'tcp')
  return { child, addresses, port: tcp?.port ?? 0 }
}

/** Bytes that a server still uses after a collection; the server was started with `held`. */
export async function held({ child }: Gantry): Promise<number> {
  const before = child.messages.length
  child.process.send(HELD_QUESTION)
  await child.until(() => child.messages.length > before)
  return (child.messages.at(-1) as Held).held
}

export const FIXTURES: string = repositoryFile('test/apps/all.ts')

/** Log lines that report a fault of Gantry itself. */
export function faultsOf({ child }: Gantry): string[] {
  const faults = child.log
    .filter((line) => line['level'] === 'fatal' || /uncaught|unhandled/i.test(String(line['msg'])))
    .map((line) => JSON.stringify(line))
  return child.stderr === '' ? faults : [...faults, child.stderr]
}
