// Colour tables and geometry of the explanation map.
// Both tables run evenly in lightness from dark to bright and are told apart under every common colour-vision
// deficiency. "Flame" is the one of the exported overlay.png (vermilion to yellow of Okabe and Ito's palette), the default
// because none of its colours is grey. "Cividis" is interpolated between eleven of the published values of that map
// (Nuñez, Anderton, Renslow: PLoS ONE 13(7), 2018), which runs from blue over grey to yellow.
// Geometry: models/reader/src/explain.rs. The grid covers the film less the share `cut` of each side; between cell
// centres it is bilinear, outside it is nothing.

const FLAME = ["d55e00", "f0e442"];
const CIVIDIS = ["00204c", "00306f", "2a406c", "48526b", "5e626e", "727274", "878479", "9e9677", "b6a971", "d0be67", "ead357"];

/** Colour tables by name, with what they are called. */
export const TABLES = { flame: [FLAME, "vermilion to yellow"], cividis: [CIVIDIS, "cividis, blue to yellow"] };
/** From this value of the map on colours are mixed in, as in overlay.png. */
export const FLOOR = 0.15;
/** The outline is drawn where the map crosses this share of its maximum. */
export const OUTLINE = 0.5;

const part = (colour, at) => parseInt(colour.slice(at, at + 2), 16);

/** 256 colours as [red, green, blue]. */
export function table(name) {
  const stops = (TABLES[name] || TABLES.flame)[0].map((colour) => [0, 2, 4].map((at) => part(colour, at)));
  return Array.from({ length: 256 }, (_, number) => {
    const at = (number / 255) * (stops.length - 1);
    const first = Math.min(stops.length - 2, Math.floor(at));
    return [0, 1, 2].map((channel) =>
      Math.round(stops[first][channel] + (stops[first + 1][channel] - stops[first][channel]) * (at - first)));
  });
}

/** The two cells around a place of an axis and the share of the second, or null outside of what the network saw. */
export function gridPlace(place, length, cells, cut) {
  const share = (place + 0.5) / length;
  if (share < cut || share > 1 - cut) return null;
  const at = Math.min(cells - 1, Math.max(0, ((share - cut) / (1 - 2 * cut)) * cells - 0.5));
  const first = Math.floor(at);
  return [first, Math.min(first + 1, cells - 1), at - first];
}

/** The map at every pixel of a raster of `rows` by `columns`, row by row. */
export function mapValues(map, rows, columns) {
  const [high, wide] = map.grid;
  const values = new Float32Array(rows * columns);
  const across = Array.from({ length: columns }, (_, column) => gridPlace(column, columns, wide, map.cut));
  for (let row = 0; row < rows; row += 1) {
    const down = gridPlace(row, rows, high, map.cut);
    if (!down) continue;
    const [top, bottom] = [down[0] * wide, down[1] * wide];
    for (let column = 0; column < columns; column += 1) {
      const place = across[column];
      if (!place) continue;
      const [left, right, share] = place;
      const upper = map.values[top + left] + (map.values[top + right] - map.values[top + left]) * share;
      const lower = map.values[bottom + left] + (map.values[bottom + right] - map.values[bottom + left]) * share;
      values[row * columns + column] = upper + (lower - upper) * down[2];
    }
  }
  return values;
}

/** The map as RGBA of a raster: colour by value, opacity from the floor on, the outline on top. */
export function mapPicture(map, rows, columns, name, outline) {
  const values = mapValues(map, rows, columns);
  const colours = table(name);
  const picture = new ImageData(columns, rows);
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at];
    const [red, green, blue] = colours[Math.round(value * 255)];
    const opacity = Math.min(1, Math.max(0, (value - FLOOR) / (1 - FLOOR)));
    picture.data.set([red, green, blue, Math.round(opacity * 255)], at * 4);
  }
  if (outline) drawOutline(picture.data, values, rows, columns);
  return picture;
}

function drawOutline(data, values, rows, columns) {
  for (let row = 1; row < rows; row += 1) {
    for (let column = 1; column < columns; column += 1) {
      const at = row * columns + column;
      const inside = values[at] >= OUTLINE;
      if (inside !== (values[at - 1] >= OUTLINE) || inside !== (values[at - columns] >= OUTLINE)) {
        data.set([255, 255, 255, 255], at * 4);
      }
    }
  }
}
