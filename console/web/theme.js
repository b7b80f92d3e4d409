// Sets the theme before the first paint, so that a page in the dark never flashes white: the chosen one, or else that of the system.
(() => {
  const { dataset } = document.documentElement;
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  dataset.theme = isDark ? 'dark' : 'light';
  try {
    const chosen = localStorage.getItem('theme');
    if (chosen === 'light' || chosen === 'dark') dataset.theme = dataset.chosenTheme = chosen;
  } catch {
    // storage may be forbidden: the system's choice then holds
  }
})();
