/** `docs/errors.md`: the table of error codes as a page, grouped by who sees a code; only the build imports this. */

import { type CodeSubject, codeTables } from '../error-codes.ts'

interface Section {
  readonly title: string
  readonly text: string
  readonly subjects: readonly {
    readonly subject: CodeSubject
    readonly title: string
    readonly text?: string
  }[]
}

const intro = `# Errors

Every error of Gantry has a \`code\` that does not change between releases: match on the code, and search for it here. Messages are for people, and may change.
\`npm run docs\` writes this page from the table in \`protocol/contract/error-codes.ts\`, which gives each error its status.

To find the code of a request that failed, take the id on its error page and [search the logs for it](logs.md#find-out-what-happened-to-a-request). An access line has the code in
\`refused\` or \`aborted\`; other lines have it in \`code\`, or in \`code\` of \`err\`. [Troubleshooting](troubleshooting.md) begins with the symptom instead.

Codes that begin with \`E\` (\`ECONNREFUSED\`) or \`ERR_\` are of Node and the operating system. [The contract](contract.md) lists the codes of \`lint\`.
`

const sections: readonly Section[] = [
  {
    title: 'What a client gets',
    text: 'The status is sent if no response has begun. Otherwise the connection is closed before the response is complete, and the access line has `aborted`.',
    subjects: [
      { subject: 'malformed', title: 'The request is malformed' },
      { subject: 'limit', title: 'The request is too large or too slow' },
      { subject: 'overload', title: 'The server is busy, or stops', text: 'These responses have `Retry-After`.' },
      { subject: 'upstream', title: 'The container or server behind the proxy fails' },
      { subject: 'fault', title: 'A fault of the process or the application' },
      { subject: 'uwsgi', title: 'uwsgi' },
      { subject: 'cgi', title: 'CGI' },
      { subject: 'middleware', title: 'Middleware' },
    ],
  },
  {
    title: 'What an operator sees',
    text: 'In `code`, `aborted` or the message of a log line, or on standard error when a process cannot start.',
    subjects: [
      {
        subject: 'abort',
        title: 'A request was aborted',
        text: 'Applications see these in `environ.gantry.signal.reason.code`.',
      },
      {
        subject: 'attempt',
        title: 'An attempt of a request failed',
        text: 'The proxy sends a request again if that is safe ([links.md](links.md)); the code of an attempt is that of the `cause` of the error.',
      },
      { subject: 'reach', title: 'A link between proxy and container was not made, or ended' },
      {
        subject: 'frame',
        title: 'A peer broke the protocol of links',
        text: 'Gantry does not send such frames. Update both processes; if the error remains, report it with the versions of both.',
      },
      {
        subject: 'xslt',
        title: '`xslt` did not transform a document',
        text: 'The client gets 502; for `XSLT_BUSY` 503.',
      },
      { subject: 'log', title: 'Log lines about no failed request' },
      { subject: 'option', title: 'An option cannot be used' },
      { subject: 'module', title: 'The application cannot be loaded' },
      { subject: 'listen', title: 'A process cannot listen' },
      { subject: 'process', title: 'Other reasons for a process to end' },
    ],
  },
  {
    title: 'What the author of an application sees',
    text: 'These errors are thrown at the code that made the mistake, and logged if it does not catch them.',
    subjects: [
      {
        subject: 'application',
        title: 'The application or middleware breaks its contract',
        text: 'The client gets 500, or an incomplete response if the head was sent. Test with `lint` to find more such mistakes before a client does.',
      },
      {
        subject: 'state',
        title: 'A class of `gantry/protocol` is used in the wrong state',
        text: 'Only code that drives these classes itself can cause them. If your code does not, report the error.',
      },
    ],
  },
]

/** The whole page. */
export function errorsPage(): string {
  return `${[intro, ...sections.map(sectionText)].join('\n')}`
}

function sectionText({ title, text, subjects }: Section): string {
  const parts = subjects.map((one) => {
    const lead = one.text === undefined ? '' : `${one.text}\n\n`
    return `### ${one.title}\n\n${lead}${tableOf(one.subject)}`
  })
  return `## ${title}\n\n${text}\n\n${parts.join('\n')}`
}

function tableOf(subject: CodeSubject): string {
  const rows = Object.entries(codeTables[subject])
  const some = (column: 'status' | 'fix'): boolean => rows.some(([, row]) => row[column] !== undefined)
  const line = (cells: readonly (string | undefined)[]): string =>
    `| ${cells.filter((cell) => cell !== undefined).join(' | ')} |\n`
  const status = some('status')
  const fix = some('fix')
  const head = line(['code', status ? 'status' : undefined, 'what happened', fix ? 'what to do' : undefined])
  const rule = `|${'---|'.repeat(2 + Number(status) + Number(fix))}\n`
  const body = rows.map(([code, row]) =>
    line([
      `\`${code}\``,
      status ? String(row.status ?? '') : undefined,
      escaped(row.means),
      fix ? escaped(row.fix ?? '') : undefined,
    ]),
  )
  return `${head}${rule}${body.join('')}`
}

function escaped(text: string): string {
  return text.replaceAll('|', '\\|')
}
