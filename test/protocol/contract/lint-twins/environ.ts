/** Twins for the rules of the call and of the environ. */

import type { Environ } from '../../../../protocol/contract/application.ts'
import { setHeader } from '../../../../protocol/contract/request-headers.ts'
import { makeEnviron } from '../../../support/call.ts'
import { environ, given, hello, start, type Twins } from './tools.ts'

export const environTwins: Twins = {
  CALL_ARGUMENTS: {
    owes: 'server',
    bad: (watch) => (watch(hello) as (...args: unknown[]) => unknown)(makeEnviron(), start, {}),
    good: (watch) => watch(hello)(makeEnviron(), start),
  },
  ENVIRON_OBJECT: {
    owes: 'server',
    bad: given(new Map(Object.entries(makeEnviron()))),
    good: given({ ...makeEnviron() }),
  },
  ENVIRON_MISSING: {
    owes: 'server',
    bad: environ((made) => delete (made as Partial<Environ>).QUERY_STRING),
    good: environ((made) => (made.QUERY_STRING = '')),
  },
  ENVIRON_STRING: {
    owes: 'server',
    bad: environ((made) => (made.PATH_INFO = '/é→')),
    good: environ((made) => (made.PATH_INFO = Buffer.from('/é→').toString('latin1'))),
  },
  ENVIRON_VALUE: {
    owes: 'server',
    bad: environ((made) => (made.SERVER_PORT = '')),
    good: environ((made) => (made.SERVER_PORT = '443')),
  },
  ENVIRON_RESERVED: {
    owes: 'server',
    bad: environ((made) => (made['wsgi.file'] = '/etc/passwd')),
    good: environ((made) => (made['wsgi.extension'] = () => {})),
  },
  ENVIRON_CONTENT_HEADER: {
    owes: 'server',
    bad: environ((made) => (made['HTTP_CONTENT_TYPE'] = 'a/b')),
    good: environ(() => {}, { headers: ['Content-Type', 'a/b'] }),
  },
  ENVIRON_PATH: {
    owes: 'server',
    bad: environ((made) => (made.PATH_INFO = ''), { method: 'OPTIONS', target: 'http://h/a' }),
    good: environ(() => {}, { method: 'OPTIONS', target: 'http://h' }),
  },
  ENVIRON_HOP_BY_HOP: {
    owes: 'server',
    bad: environ((made) => (made['HTTP_TRANSFER_ENCODING'] = 'chunked')),
    good: environ(() => {}, { headers: ['Transfer-Encoding', 'chunked', 'Proxy', 'evil'] }),
  },
  ENVIRON_WSGI: {
    owes: 'server',
    bad: environ((made) => (made['wsgi.multithread'] = 1 as never)),
    good: environ((made) => (made['wsgi.multithread'] = false)),
  },
  RAW_HEADERS: {
    owes: 'server',
    bad: environ((made) => (made['CONTENT_LENGTH'] = '5')),
    good: environ((made) => setHeader(made, 'Content-Length', '5')),
  },
  ENVIRON_CONTEXT: {
    owes: 'server',
    bad: environ((made) => Object.defineProperty(made.gantry, 'onFinished', { value: undefined })),
    good: environ((made) => Object.defineProperty(made.gantry, 'onFinished', { value: () => {} })),
  },
}
