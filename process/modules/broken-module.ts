/**
 * Finds the file with a syntax error among the ES modules that a module imports. Node names this file when it runs the
 * module, but not in the error of an `import()`. No module is run.
 */

import { spawnSync } from 'node:child_process'
import { fileURLToPath, pathToFileURL } from 'node:url'

/**
 * Parses a module, and the modules that it imports by path. Runs in a child process, since vm's modules need a flag.
 */
const SCRIPT = `
import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { SourceTextModule } from 'node:vm'

const [first, message] = process.argv.slice(1)
const urls = new Set([first])
for (const url of urls) {
  try {
    const text = readFileSync(new URL(url), 'utf8')
    const module = new SourceTextModule(/\\.m?ts$/.test(url) ? stripTypeScriptTypes(text) : text)
    const specifiers = module.moduleRequests?.map((one) => one.specifier) ?? module.dependencySpecifiers
    for (const specifier of specifiers) {
      if (/^(?:\\.{0,2}\\/|file:)/.test(specifier)) urls.add(new URL(specifier, url).href)
    }
  } catch (error) {
    // Another error, for example of CommonJS, is not the one that is searched for.
    if (!(error instanceof SyntaxError) || error.message !== message) continue
    process.stdout.write(url)
    break
  }
}`

/**
 * @param file the module that was imported
 * @param message of the SyntaxError
 * @returns the file; undefined if it was not found
 */
export function brokenModule(file: string, message: string): string | undefined {
  const argv = ['--no-warnings', '--experimental-vm-modules', '--input-type=module', '--eval', SCRIPT]
  const { stdout } = spawnSync(process.execPath, [...argv, pathToFileURL(file).href, message], {
    encoding: 'utf8',
    timeout: 10_000,
  })
  return stdout ? fileURLToPath(stdout) : undefined
}
