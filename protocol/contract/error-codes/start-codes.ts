/** Codes of processes that cannot start, and of log lines without an error. `error-codes.ts` says how to read a row. */

/** An option cannot be used. */
export const optionCodes = {
  UNKNOWN_OPTION: {
    means: 'There is no option or environment variable of this name.',
    fix: 'Use the name that the message proposes, or see `gantry COMMAND --help`.',
  },
  UNEXPECTED_ARGUMENT: {
    means: 'No command, or no option, takes this argument.',
    fix: 'See `gantry --help`.',
  },
  MISSING_VALUE: {
    means: 'An option was given without its value.',
    fix: 'Give the value that the message describes.',
  },
  MISSING_OPTION: {
    means: 'A required option was not given.',
    fix: 'Give it on the command line or in the environment.',
  },
  BAD_VALUE: {
    means: 'The value of an option has the wrong form, or contradicts another option.',
    fix: 'Give the value that the message describes.',
  },
  BAD_FILE: {
    means: 'A file that an option names cannot be read, or its content is invalid.',
    fix: 'Check the path, the owner and the mode of the file.',
  },
} as const

/** The application or a middleware module cannot be loaded. */
export const moduleCodes = {
  NO_MODULE: {
    means: 'There is no file at the path, or no package of the name.',
    fix: 'Correct the path, or install the package.',
  },
  NO_IMPORT: {
    means: 'The module exists, and something that it imports does not.',
    fix: 'Install or correct the import at the place that the message names.',
  },
  SYNTAX: {
    means: 'The module has a syntax error.',
    fix: 'Correct the line that the message names.',
  },
  TYPES: {
    means: 'Node cannot run this TypeScript: an enum, a namespace, or a parameter property.',
    fix: 'Compile the module, or write erasable TypeScript only.',
  },
  WAITS: {
    means: 'The module awaits at its top level something that never happens.',
    fix: 'Look for the `await` that has nothing to wait for.',
  },
  THREW: {
    means: 'The module threw while it was loaded.',
    fix: 'See the `cause`: the error of the application.',
  },
  NO_EXPORT: {
    means: 'The module has no export of the name.',
    fix: 'Use one of the names that the message lists.',
  },
  NOT_A_FUNCTION: {
    means: 'The export is not an application, listener, fetch handler or middleware.',
    fix: 'Export what the message describes.',
  },
  NEVER_LISTENED: {
    means: 'The module has no application to export, and called no `listen()`.',
    fix: 'Export an application, or call `listen()`.',
  },
  UNSERVABLE: {
    means:
      'The module started a server that cannot be served: not an `http.Server`, or one on another port than `--app-port`.',
    fix: 'Use `node:http`, or `--app-port`.',
  },
  CHILD_LISTENS: {
    means: 'The module started a process that listens in its place.',
    fix: 'Give `gantry` the module that calls `listen()` itself.',
  },
} as const

/** Nobody can listen at an address. */
export const listenCodes = {
  ADDRESS_IN_USE: {
    means: 'Another process listens at the address.',
    fix: 'Find it with `ss -ltnp` and end it, or choose another address.',
  },
  NOT_A_SOCKET: {
    means: 'The path exists and is not a socket.',
    fix: 'Choose another path, or remove the file.',
  },
  CANNOT_LISTEN: {
    means: 'The system forbids it: no permission, no such directory, no such interface.',
    fix: 'The message names the reason of the system. Ports below 1024 need a permission.',
  },
} as const

/** Other reasons for a process not to start, or to end. */
export const processCodes = {
  BAD_ADDRESS: {
    means: 'A text is not an address.',
    fix: 'Write it in one of the forms that the message shows.',
  },
  BAD_HTPASSWD: {
    means: '`basicAuth`: a file of passwords, or an entry of it, is invalid.',
    fix: 'Correct the line that the message names; `htpasswd -B` writes entries that are accepted.',
  },
  WORKER_ENDED: {
    means: 'A worker of the proxy ended before it was ready.',
    fix: 'The line before is of the worker, and says why.',
  },
  NEVER_ENDS: {
    means:
      'The start or the stop of the process waits for something that never happens. The process ends with an error.',
    fix: 'Look for a promise of the application that is never resolved.',
  },
  LOADING: {
    means:
      '`up --dev`: the module has begun to load and has not ended; browsers see a page that says this, with status 503.',
    fix: 'Look for an `await` at the top level of the module.',
  },
} as const

/** Log lines that report no error of a request. */
export const logCodes = {
  CACHE_RENEWAL: {
    means: '`cache` could not renew a stale response, and serves it on.',
    fix: '`status` is what the application answered; look for its error.',
  },
  CGI_NO_REQUEST: {
    means: '`gantry cgi` was started without a request.',
    fix: 'Let a web server run it.',
  },
  CGI_LOCATION: {
    means: '`gantry cgi`: a 200 with `Location` would be a redirect for the web server; the field was removed.',
    fix: 'Answer 201, or a 3xx.',
  },
  CGI_BODY_SHORT: {
    means: "`gantry cgi`: the request's body ended before its `CONTENT_LENGTH`.",
    fix: 'Nothing if the client disconnected; otherwise correct the web server.',
  },
  NOT_SETTLED: {
    means: '`makeServer`: the server is closed, and the application still runs.',
    fix: 'Let the application end when `environ.gantry.signal` is aborted.',
  },
} as const
