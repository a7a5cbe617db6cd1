import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { repositoryFile, TestChild } from './support/child.ts'
import { withDirectory } from './support/directory.ts'

const readme = readFileSync(repositoryFile('README.md'), 'utf8')

/** The first code block of a language. */
function block(language: string): string {
  const found = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'ms').exec(readme)?.[1]
  assert.ok(found, `README.md has no ${language} block`)
  return found
}

/** Another port than the page's, and another date. */
function normal(text: string): string {
  return text
    .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:PORT')
    .replace(/^Date: .*$/m, 'Date: DATE')
    .trimEnd()
}

test("the README's application, started and asked as it says, answers what it shows", () =>
  withDirectory(async (directory) => {
    const [up, said, curl, ...answer] = block('console')
      .split('\n')
      .filter((line, at) => line !== '' || at > 3)
    assert.equal(up, '$ gantry up app.ts --listen 127.0.0.1:8080')
    writeFileSync(join(directory, 'app.ts'), block('ts'))
    const child = new TestChild([repositoryFile('gantry.ts'), 'up', 'app.ts', '--listen', '127.0.0.1:0'], {
      cwd: directory,
    })
    try {
      await child.until(() => /served at .*\n/.test(child.stderr))
      assert.equal(normal(child.stderr), normal(said!))
      const url = /http:\S+/.exec(child.stderr)![0]
      assert.equal(curl, "$ curl -i -d 'one body' http://127.0.0.1:8080/")
      const { stdout } = await promisify(execFile)('curl', ['-s', '-i', '-d', 'one body', url])
      assert.equal(normal(stdout.replaceAll('\r', '')), normal(answer.join('\n')))
    } finally {
      child.process.kill('SIGTERM')
      await child.exited
    }
  }))

test('the two commands of the README are scripts of the package', () => {
  const { scripts } = JSON.parse(readFileSync(repositoryFile('package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  for (const [, name] of readme.matchAll(/^npm ci && npm (?:run )?(\S+)/gm)) assert.ok(scripts[name!], `npm ${name}`)
})

test('the files that the README points to are there', () => {
  for (const [, path] of readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) readFileSync(repositoryFile(path!))
})
