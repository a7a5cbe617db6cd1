import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { compose } from '../../middleware/compose.ts'
import type { Application, Middleware } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'

const hello: Application = (_, startResponse) => {
  startResponse('200 OK', [])
  return [Buffer.from('hello')]
}

/** Records when it is called and when the response begins. */
function noting(name: string, notes: string[]): Middleware {
  return (application) => (environ, startResponse) => {
    notes.push(`${name} in`)
    return application(environ, (...head) => {
      notes.push(`${name} out`)
      return startResponse(...head)
    })
  }
}

describe('compose', () => {
  it('puts the first middleware outermost and the last one innermost', async () => {
    const notes: string[] = []
    const application = compose(noting('a', notes), noting('b', notes), noting('c', notes), hello)
    assert.equal((await call(application)).text, 'hello')
    assert.deepEqual(notes, ['a in', 'b in', 'c in', 'c out', 'b out', 'a out'])
  })

  it('returns the application itself if there is no middleware', () => {
    assert.equal(compose(hello), hello)
  })

  it('calls each middleware once, and not for each request', async () => {
    let folded = 0
    const counting: Middleware = (application) => {
      folded++
      return application
    }
    const application = compose(counting, counting, hello)
    await call(application)
    await call(application)
    assert.equal(folded, 2)
  })

  it('nests', async () => {
    const notes: string[] = []
    const application = compose(noting('a', notes), compose(noting('b', notes), hello))
    await call(application)
    assert.deepEqual(notes.slice(0, 2), ['a in', 'b in'])
  })

  it('refuses an argument that is not a function, with its position', () => {
    const loose = compose as (...layers: unknown[]) => Application
    const pass: Middleware = (application) => application
    assert.throws(() => loose(), /needs an application as its last argument/)
    assert.throws(() => loose(pass, undefined, hello), /argument 2 of compose\(\) is undefined; expected a middleware/)
    assert.throws(
      () => loose(pass, pass, { hello }),
      /argument 3 of compose\(\) is a value of type object; expected an application/,
    )
    assert.throws(() => loose([pass], hello), /argument 1 .* an array \(spread it/)
    assert.throws(() => loose(Promise.resolve(pass), hello), /argument 1 .* a promise \(await it first\)/)
  })

  it('refuses a middleware that returns no application, with its position', () => {
    const loose = compose as (...layers: unknown[]) => Application
    const nothing = (): void => {}
    assert.throws(
      () => loose((a: Application) => a, nothing, hello),
      /argument 2 of compose\(\) is not a middleware: .* returned undefined/,
    )
  })
})
