import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { silent } from '../../../protocol/log/logger.ts'
import type { TcpAddress, UnixAddress } from '../../../protocol/net/address.ts'
import { ListenError, type ListenErrorCode, type Listener, listen } from '../../../protocol/net/listen.ts'
import { keepAliveDue, skipKeepAlive } from '../../support/keep-alive.ts'

let directory = ''
let path = ''
const open: Listener[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-listen-'))
  path = join(directory, 'a.sock')
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((listener) => listener.close()))
  rmSync(directory, { recursive: true, force: true })
})

const unix = (): UnixAddress => ({ kind: 'unix', path })
const tcp = (port: number, host: string = '127.0.0.1'): TcpAddress => ({ kind: 'tcp', host, port })

/** Sends `name` on each connection, so that a test knows which server accepted it. */
async function start(name: string, address: UnixAddress | TcpAddress = unix(), mode?: number): Promise<Listener> {
  const listener = await listen(address, { log: silent, mode }, (socket) => socket.end(name))
  open.push(listener)
  return listener
}

async function greeting(target: { path: string } | { host: string; port: number }): Promise<string> {
  const socket: Socket = connect(target)
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'close')
  return Buffer.concat(chunks).toString()
}

function refused(code: ListenErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof ListenError && error.code === code && /^cannot listen on .+: ./.test(error.message)
}

/** A socket file whose process was killed. */
async function leaveStale(): Promise<void> {
  const child = spawn(process.execPath, [
    '-e',
    `net.createServer().listen(${JSON.stringify(path)}, () => console.log(1))`,
  ])
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.ok(existsSync(path))
}

describe('listen', () => {
  describe('TCP keep-alive', { skip: skipKeepAlive }, () => {
    const cases: readonly { keepAlive: number | undefined; due: number | undefined }[] = [
      { keepAlive: undefined, due: 60_000 },
      { keepAlive: 30_000, due: 30_000 },
      // Less than the system supports is a second, not the default of two hours.
      { keepAlive: 1, due: 1_000 },
      { keepAlive: 1e12, due: 32_767_000 },
      { keepAlive: Number.POSITIVE_INFINITY, due: undefined },
    ]
    for (const { keepAlive, due } of cases) {
      it(`probes after ${due} ms if ${keepAlive} is given`, async () => {
        const accepted = Promise.withResolvers<Socket>()
        const listener = await listen(tcp(0), { log: silent, keepAlive }, accepted.resolve)
        open.push(listener)
        const { port } = listener.address as TcpAddress
        const client = connect({ host: '127.0.0.1', port })
        const server = await accepted.promise
        const left = keepAliveDue(port, server.remotePort!)
        if (due === undefined) assert.equal(left, undefined)
        // On a busy machine a second may have passed, after which the timer shows the next probe.
        else assert.ok(left! <= due + 100 && left! > (due > 1_000 ? due / 2 : -1), `${left} ms are left of ${due}`)
        client.destroy()
        server.destroy()
      })
    }
  })

  it('gives the port that the system chose', async () => {
    const { address } = await start('tcp', tcp(0))
    assert.ok(address.kind === 'tcp' && address.port > 0)
    assert.equal(await greeting({ host: '127.0.0.1', port: address.port }), 'tcp')
  })

  it('refuses a TCP port that is taken', async () => {
    const { address } = await start('first', tcp(0))
    await assert.rejects(() => start('second', address), refused('ADDRESS_IN_USE'))
  })

  it('reports that no interface has the address', async () => {
    await assert.rejects(() => start('nowhere', tcp(0, '192.0.2.1')), refused('CANNOT_LISTEN'))
  })

  it('serves a Unix socket, leaves no other file, and removes the socket when it closes', async () => {
    const listener = await start('unix')
    assert.deepEqual(readdirSync(directory), ['a.sock'])
    assert.equal(await greeting({ path }), 'unix')
    const closed = listener.close()
    assert.deepEqual(readdirSync(directory), [])
    assert.equal(listener.close(), closed)
    await closed
    await assert.rejects(() => greeting({ path }), { code: 'ENOENT' })
  })

  for (const mode of [0o600, 0o660, 0o666]) {
    it(`gives a Unix socket mode ${mode.toString(8)} whatever the umask`, async () => {
      await start('unix', unix(), mode)
      assert.equal(statSync(path).mode & 0o777, mode)
    })
  }

  it('replaces a Unix socket whose process was killed', async () => {
    await leaveStale()
    await start('new')
    assert.equal(await greeting({ path }), 'new')
    assert.deepEqual(readdirSync(directory), ['a.sock'])
  })

  it('does not replace a Unix socket on which a process listens', async () => {
    await start('first')
    await assert.rejects(() => start('second'), refused('ADDRESS_IN_USE'))
    assert.equal(await greeting({ path }), 'first')
    assert.deepEqual(readdirSync(directory), ['a.sock'])
  })

  it('lets one of many processes win that replace a dead socket at once, and the winner answers', async () => {
    await leaveStale()
    const names = Array.from({ length: 8 }, (_, index) => `racer ${index}`)
    const outcomes = await Promise.allSettled(names.map((name) => start(name)))
    const winners = names.filter((_, index) => outcomes[index]?.status === 'fulfilled')
    assert.equal(winners.length, 1)
    assert.equal(await greeting({ path }), winners[0])
    for (const outcome of outcomes) if (outcome.status === 'rejected') refused('ADDRESS_IN_USE')(outcome.reason)
    assert.deepEqual(readdirSync(directory), ['a.sock'])
  })

  it('does not remove a file that is not a socket', async () => {
    writeFileSync(path, 'precious')
    await assert.rejects(() => start('unix'), refused('NOT_A_SOCKET'))
    assert.deepEqual(readdirSync(directory), ['a.sock'])
  })

  it('reports that the directory does not exist', async () => {
    path = join(directory, 'none', 'a.sock')
    await assert.rejects(() => start('unix'), refused('CANNOT_LISTEN'))
    await assert.rejects(() => start('unix'), /the directory does not exist$/)
  })

  it('does not remove a path that another process has taken over', async () => {
    const listener = await start('old')
    const other = join(directory, 'other')
    const server = createServer((socket) => socket.end('other')).listen(other)
    await once(server, 'listening')
    renameSync(other, path)
    await listener.close()
    assert.equal(await greeting({ path }), 'other')
    server.close()
  })

  it('keeps open connections when it closes', async () => {
    const accepted = Promise.withResolvers<Socket>()
    const listener = await listen(unix(), { log: silent }, accepted.resolve)
    const client = connect({ path })
    const server = await accepted.promise
    await listener.close()
    server.end('still here')
    assert.equal((await once(client, 'data')).toString(), 'still here')
    client.destroy()
  })

  it('accepts connections in the backlog when it closes, rather than reset them', async () => {
    const listener = await start('the last')
    // The system has accepted the connection when this returns; this process has not.
    const client = connect({ path })
    const closed = listener.close()
    assert.equal((await once(client, 'data')).toString(), 'the last')
    await closed
    client.destroy()
  })

  it('accepts all connections in the backlog, however many', async () => {
    const listener = await start('one of many')
    const clients = Array.from({ length: 50 }, () => connect({ path }))
    const closed = listener.close()
    for (const client of clients) assert.equal((await once(client, 'data')).toString(), 'one of many')
    await closed
    for (const client of clients) client.destroy()
  })

  for (const stale of [false, true]) {
    it(`does not need hard links${stale ? ', also to replace a dead socket' : ''}`, async () => {
      if (stale) await leaveStale()
      const link = (): never => {
        throw Object.assign(new Error('not supported'), { code: 'EOPNOTSUPP' })
      }
      const first = await listen(unix(), { log: silent, link }, (socket) => socket.end('first'))
      open.push(first)
      assert.equal(await greeting({ path }), 'first')
      await assert.rejects(() => listen(unix(), { log: silent, link }, () => {}), refused('ADDRESS_IN_USE'))
      assert.deepEqual(readdirSync(directory), ['a.sock'])
      await first.close()
      assert.deepEqual(readdirSync(directory), [])
    })
  }

  it('accepts sockets that stay writable after the client’s FIN', async () => {
    const listener = await listen(unix(), { log: silent }, (socket) => {
      socket.resume().on('end', () => socket.end('after your FIN'))
    })
    open.push(listener)
    const client = connect({ path, allowHalfOpen: true })
    client.end()
    assert.equal((await once(client, 'data')).toString(), 'after your FIN')
    client.destroy()
  })

  it('survives the error of a socket that nobody serves', async () => {
    const accepted = Promise.withResolvers<Socket>()
    open.push(await listen(unix(), { log: silent }, accepted.resolve))
    const client = connect({ path })
    const server = await accepted.promise
    server.destroy(new Error('reset'))
    await once(client, 'close')
  })

  it('reports that it may not write into the directory', { skip: process.getuid?.() === 0 }, async () => {
    chmodSync(directory, 0o500)
    await assert.rejects(() => start('unix'), refused('CANNOT_LISTEN'))
    chmodSync(directory, 0o700)
  })
})
