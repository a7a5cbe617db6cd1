import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { optionsPage } from '../../scripts/build.ts'
import { repositoryFile, TestChild } from '../support/child.ts'

async function gantry(argv: string[], env: Record<string, string> = {}) {
  const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv], { env })
  const { code } = await child.exited
  return { code, stdout: child.stdout, stderr: child.stderr }
}

test('--version prints the version of the package', async () => {
  const { version } = JSON.parse(readFileSync(repositoryFile('package.json'), 'utf8'))
  assert.deepEqual(await gantry(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('help names every command, and each command has help of its own, whatever else is given', async () => {
  const { code, stdout } = await gantry(['--help'])
  assert.equal(code, 0)
  for (const command of ['up', 'container', 'proxy', 'health']) {
    assert.match(stdout, new RegExp(`gantry ${command} `))
    const help = await gantry([command, '--slots', 'nonsense', '--help'])
    assert.equal(help.code, 0)
    assert.match(help.stdout, new RegExp(`^Usage: gantry ${command} `))
    assert.deepEqual(await gantry(['help', command]), help)
  }
})

const refused: [argv: string[], stderr: string][] = [
  [['contaner'], 'gantry: unknown command "contaner"; did you mean container?\nTry gantry --help\n'],
  [['serve'], 'gantry: unknown command "serve": expected up, container, proxy, cgi, health\nTry gantry --help\n'],
  [
    ['constructor'],
    'gantry: unknown command "constructor": expected up, container, proxy, cgi, health\nTry gantry --help\n',
  ],
  [
    ['proxy', '--lisen', ':1'],
    'gantry proxy: unknown option --lisen; did you mean --listen?\nTry gantry proxy --help\n',
  ],
  [
    ['proxy', '--slots', '5'],
    'gantry proxy: unknown option --slots; --slots is an option of gantry up, gantry container\nTry gantry proxy --help\n',
  ],
  [['help', 'contaner'], 'gantry: unknown command "contaner"; did you mean container?\nTry gantry --help\n'],
  [
    ['container'],
    'gantry container: MODULE[:EXPORT] is required (or GANTRY_MODULE in the environment)\nTry gantry container --help\n',
  ],
]

for (const [argv, stderr] of refused) {
  test(`refused in one clear sentence: gantry ${argv.join(' ')}`, async () => {
    assert.deepEqual(await gantry(argv), { code: 1, stdout: '', stderr })
  })
}

test('without a command it shows its usage, as a failure', async () => {
  const { code, stdout } = await gantry([])
  assert.equal(code, 1)
  assert.match(stdout, /^Usage: gantry COMMAND/)
})

test('the entry file parses on old Nodes: it has no static import but of Node’s own modules', () => {
  const source = readFileSync(repositoryFile('cli/gantry.ts'), 'utf8')
  const imports = [...source.matchAll(/^import .* from '(.*)'$/gm)].map((match) => match[1])
  assert.deepEqual(imports, ['node:fs'])
})

test('docs/options.md equals the page that the tables generate', () => {
  assert.equal(readFileSync(repositoryFile('docs/options.md'), 'utf8'), optionsPage(), 'run npm run docs')
})

test('an application that is not there ends a container and a pair with one sentence', async () => {
  for (const command of ['container', 'up']) {
    const { code, stderr } = await gantry([command, 'nowhere.ts', '--listen', '127.0.0.1:0', '--log-level', 'silent'])
    assert.equal(code, 1)
    assert.match(stderr, /^gantry container: .*nowhere\.ts\n$/)
  }
})

test('an address in use is reported without a stack', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  try {
    const argv = ['proxy', '--upstream', ':1', '--listen', `127.0.0.1:${port}`, '--log-level', 'silent']
    const { code, stderr } = await gantry(argv)
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`^gantry proxy: .*127\\.0\\.0\\.1:${port}.*\n$`))
  } finally {
    server.close()
  }
})
