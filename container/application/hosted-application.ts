/**
 * The interfaces that an application can have (the values of `--interface`), and what the container knows about an
 * application after loading it.
 */

import type { Server } from 'node:http'
import type { Application } from '../../protocol/contract/application.ts'

/** `wsgi`: (environ, startResponse). `node`: (req, res). `fetch`: (Request) → Response. */
export type InterfaceName = 'wsgi' | 'node' | 'fetch'

/** An application that a container can serve. */
export interface HostedApplication {
  /** A description for logs: `an Express application`. */
  readonly what: string
  readonly interface: InterfaceName
  readonly application: Application
  /**
   * The application's own server, if it is one or has one. The server does not listen, unless the container took it
   * over.
   */
  readonly server?: Server | undefined
  /**
   * The application's shutdown: a framework's closing hooks run in it. Called when a drain begins (`begun`) or is over
   * (`over`).
   */
  readonly close?: { readonly when: 'begun' | 'over'; run(): Promise<unknown> } | undefined
}
