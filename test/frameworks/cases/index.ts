/** The cases of every framework, and those of all frameworks that have node's own request and response. */

import type { Case } from '../shape.ts'
import { bodyCases, busboyCases, uploadCases } from './bodies.ts'
import { connectionCases } from './connections.ts'
import { fileCases } from './files.ts'
import { requestCases } from './requests.ts'
import { compressionCases, cookieCases, errorCases, responseCases } from './responses.ts'
import { rawCases, streamCases } from './streams.ts'
import { socketIoCases, webSocketCases } from './websockets.ts'

export const commonCases: readonly Case[] = [
  ...requestCases,
  ...bodyCases,
  ...uploadCases,
  ...fileCases,
  ...cookieCases,
  ...compressionCases,
  ...responseCases,
  ...errorCases,
  ...streamCases,
  ...connectionCases,
]

export const nodeCases: readonly Case[] = [...rawCases, ...busboyCases]

export { webSocketCases }

export const socketCases: readonly Case[] = [...webSocketCases, ...socketIoCases]
