// As much of a DICOM file as the upload needs: whether it is one, and which study and instance it says it is.
// Reads the first 64 KiB. Errors: null for what is no DICOM file; a UID that is not found is an empty text. The program
// parses the file anew and alone decides; this only groups and names what was dropped.
// Source: DICOM PS3.5 7.1, PS3.10 7.1.

const HEAD_BYTES = 65536;
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const IMPLICIT = "1.2.840.10008.1.2";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const DEFLATED = "1.2.840.10008.1.2.1.99";
const UIDS = { "0008,0018": "instance", "0020,000d": "study" };

const letters = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
const value = (bytes, at, length) => letters(bytes, at, length).replace(/[\0 ]+$/, "");
const hex4 = (number) => number.toString(16).padStart(4, "0");

/** What a file says it is: `{ study, instance }`, or null where it is no DICOM file. */
export async function identify(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (bytes.length < 140 || letters(bytes, 128, 4) !== "DICM") return null;
  const found = { study: "", instance: "" };
  const view = new DataView(bytes.buffer);
  let [at, syntax] = [132, ""];
  while (at + 8 <= bytes.length) {
    const group = view.getUint16(at, true);
    const tag = `${hex4(group)},${hex4(view.getUint16(at + 2, true))}`;
    if (group !== 2 && (syntax === BIG_ENDIAN || syntax === DEFLATED)) break;
    if (group > 0x20) break;
    const implicit = group !== 2 && syntax === IMPLICIT;
    const long = !implicit && LONG.has(letters(bytes, at + 4, 2));
    if (long && at + 12 > bytes.length) break;
    const start = at + (long ? 12 : 8);
    const length = implicit ? view.getUint32(at + 4, true) : long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
    // A sequence of unknown length is not walked through: what comes behind stays unknown.
    if (length === 0xffffffff || start + length > bytes.length) break;
    if (tag === "0002,0010") syntax = value(bytes, start, length);
    if (UIDS[tag]) found[UIDS[tag]] = value(bytes, start, length);
    at = start + length;
  }
  return found;
}

/** Reasons of STOW-RS for an instance that was not stored, by number (PS3.18 table I.2-2, PS3.7 annex C). */
export const FAILURES = {
  0x0110: "it could not be processed",
  0x0117: "its instance UID is not one",
  0x0122: "objects of its class are not taken",
  0x0124: "this role may not store",
  0x0111: "another film of the same UID is held",
  0xa700: "there is no room for it",
  0xa900: "its attributes do not fit its class",
  0xc000: "it could not be understood",
  0xc122: "its transfer syntax is not taken",
};
