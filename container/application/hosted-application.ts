/** The interfaces that an application may have, by the names of `--interface`, and what an application is to a container once it was loaded. */

import type { Server } from 'node:http'
import type { Application } from '../../protocol/contract/application.ts'

/** `wsgi`: (environ, startResponse). `node`: (req, res). `fetch`: (Request) → Response. */
export type InterfaceName = 'wsgi' | 'node' | 'fetch'

/** Something that a container can serve. */
export interface HostedApplication {
  /** For the log: `an Express application`. */
  readonly what: string
  readonly interface: InterfaceName
  readonly application: Application
  /** The server of its own that it is, or has. It does not listen, unless the container took it over. */
  readonly server?: Server | undefined
  /** Its own end, called when a drain has begun (`begun`) or is over (`over`): where frameworks run their closing hooks. */
  readonly close?: { readonly when: 'begun' | 'over'; run(): Promise<unknown> } | undefined
}
