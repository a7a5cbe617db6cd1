/** Rules of `wsgi.input`, `wsgi.errors` and `wsgi.file_wrapper`. Sentences only: `../input.ts` and `../streams.ts` check them. */

export const inputRules = {
  READ_ARGUMENTS: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'A read of wsgi.input takes one argument at the most.',
  },
  READ_SIZE: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'The size of a read of wsgi.input is a whole number of bytes, negative or absent for all.',
  },
  READ_WHILE_READING: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'wsgi.input is read by one read at a time: a read is awaited before the next.',
  },
  READ_AFTER_CLOSE: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'The input is not read once the body was closed.',
  },
  STREAM_MEMBERS: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence:
      'Of wsgi.input and wsgi.errors only what the contract names is used, whatever else they have; above all, they are not closed.',
  },
  INPUT_RESULT: {
    owes: 'server',
    source: 'PEP 3333, Input and Error Streams',
    sentence:
      'Reads of wsgi.input give promises of bytes (readlines: of an array of lines), never more than asked for, and of a line no more than the line.',
  },
  INPUT_AFTER_END: {
    owes: 'server',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'Once a read came short, the input is at its end and stays there.',
  },
  INPUT_LENGTH: {
    owes: 'server',
    source: 'PEP 3333, Input and Error Streams; RFC 9112 §6.3',
    sentence:
      'The input ends after CONTENT_LENGTH bytes, no later and no sooner: an upload that was cut off makes the read fail, and is never taken for whole.',
  },
  INPUT_TRAILERS: {
    owes: 'server',
    source: 'RFC 9110 §6.5',
    sentence: 'wsgi.input.trailers is a promise of [name, value] pairs.',
  },
} as const

export const streamRules = {
  ERRORS_TEXT: {
    owes: 'application',
    source: 'PEP 3333, Input and Error Streams',
    sentence: 'wsgi.errors takes strings.',
  },
  FILE_WRAPPER_FILE: {
    owes: 'application',
    source: 'PEP 3333, Optional Platform-Specific File Handling',
    sentence:
      'wsgi.file_wrapper takes a FileHandle or an object with read(size), and perhaps a block size, a whole number above 0.',
  },
  FILE_WRAPPER_BODY: {
    owes: 'server',
    source: 'PEP 3333, Optional Platform-Specific File Handling',
    sentence: "wsgi.file_wrapper gives a body, and where the file has a close(), one whose close() is the file's.",
  },
} as const
