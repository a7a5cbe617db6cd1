/** A base class whose `this` is what its constructor is given: it adds private fields to an object that was made elsewhere. */

export const ReturnOverride: new (object: object) => object = class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: that is what it is for
    return object
  }
}
