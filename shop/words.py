"""The words the made-up shop is built from: people, cities, brands, departments and what they sell.

Lists of plain words are texts, separated by blanks or by `|`.
"""

FIRST_NAMES = (
    "Ada Alan Alice Amara Andre Anna Arjun Beatriz Ben Carla Carlos Chen Clara Daniel Diana Elena Emma Eric Fatima "
    "Felix Frank Gloria Grace Hana Hector Hugo Ines Isaac Ivan Jada James Jasmine Joel Jonas Julia Kai Karen Kofi Lara "
    "Laura Leo Lin Lucas Luis Maria Marcus Maya Mei Mia Miguel Nadia Naomi Nathan Nina Noah Nora Olga Omar Oscar Paul "
    "Petra Priya Rachel Rafael Rosa Ruth Sam Sara Sofia Tara Theo Thomas Uma Vera Victor Wanda Will Yara Yusuf Zoe"
)

LAST_NAMES = (
    "Adams Ahmed Alvarez Anderson Baker Bauer Becker Bell Brooks Brown Campbell Carter Castro Chang Clark Cohen Cole "
    "Collins Cruz Davis Diaz Edwards Evans Fischer Flores Foster Garcia Gomez Gray Green Gupta Hall Harris Hayes Hill "
    "Howard Hughes Ito Jackson Johnson Jones Kelly Khan Kim King Kowalski Kumar Lee Lewis Long Lopez Martin Martinez "
    "Meyer Miller Mitchell Moore Morgan Morris Murphy Nguyen Novak Okafor Ortiz Owens Park Patel Perez Peterson Powell "
    "Price Ramirez Reed Reyes Rivera Roberts Rossi Ruiz Russell Santos Schmidt Scott Silva Singh Smith Stewart Suzuki "
    "Taylor Thomas Thompson Torres Tran Turner Walker Wang Ward Watson Weber White Williams Wilson Wood Wright Young"
)

STREETS = "Market Riverside Union Harbor Oak Hill College Station Central Lakeside Mill Garden"

# city, region, first digits of its postal codes, telephone area, time zone; a chain of 12 stores takes the first 12
CITIES = (
    ("New York", "NY", "100", "212", "America/New_York"),
    ("Chicago", "IL", "606", "312", "America/Chicago"),
    ("Los Angeles", "CA", "900", "213", "America/Los_Angeles"),
    ("Denver", "CO", "802", "303", "America/Denver"),
    ("Boston", "MA", "021", "617", "America/New_York"),
    ("Houston", "TX", "770", "713", "America/Chicago"),
    ("Seattle", "WA", "981", "206", "America/Los_Angeles"),
    ("Phoenix", "AZ", "850", "602", "America/Phoenix"),
    ("Atlanta", "GA", "303", "404", "America/New_York"),
    ("Minneapolis", "MN", "554", "612", "America/Chicago"),
    ("Portland", "OR", "972", "503", "America/Los_Angeles"),
    ("Philadelphia", "PA", "191", "215", "America/New_York"),
    ("Dallas", "TX", "752", "214", "America/Chicago"),
    ("San Diego", "CA", "921", "619", "America/Los_Angeles"),
    ("Salt Lake City", "UT", "841", "801", "America/Denver"),
    ("Miami", "FL", "331", "305", "America/New_York"),
    ("Nashville", "TN", "372", "615", "America/Chicago"),
    ("Sacramento", "CA", "958", "916", "America/Los_Angeles"),
    ("Pittsburgh", "PA", "152", "412", "America/New_York"),
    ("Milwaukee", "WI", "532", "414", "America/Chicago"),
    ("Columbus", "OH", "432", "614", "America/New_York"),
    ("Kansas City", "MO", "641", "816", "America/Chicago"),
    ("Anchorage", "AK", "995", "907", "America/Anchorage"),
    ("Honolulu", "HI", "968", "808", "Pacific/Honolulu"),
)

BRANDS = (
    "Alder & Finch|Bluewater|Brightside|Copperpot|Daily Choice|Evergreen|Farmhouse Lane|Golden Acre|Greenfield|"
    "Harvest Moon|Hearthstone|Juniper|Kettle & Co|Lighthouse|Maple Ridge|North Fork|Orchard Hill|Pinecrest|"
    "Prairie Gold|Red Barn|Silver Creek|Stonebridge|Sunny Meadow|Tidewater|Valley Pride|White Oak"
)

STYLES = "Classic Organic Original Family Light Premium Select Simple Traditional Whole"

# department, category, lowest and highest list price in USD, package sizes, articles
CATEGORIES = (
    ("Grocery", "Breakfast cereal", 3, 8, "12 oz|16 oz|24 oz", "Granola|Corn Flakes|Oat Rings|Muesli"),
    ("Grocery", "Pasta and rice", 1, 7, "1 lb|2 lb|5 lb", "Spaghetti|Penne|Basmati Rice|Brown Rice"),
    ("Grocery", "Canned goods", 1, 5, "10 oz|15 oz|28 oz", "Black Beans|Chickpeas|Tomatoes|Sweet Corn|Tuna"),
    ("Grocery", "Snacks", 2, 7, "5 oz|8 oz|12 oz", "Potato Chips|Pretzels|Trail Mix|Crackers|Popcorn"),
    ("Grocery", "Soft drinks", 1, 9, "1 l|2 l|12 x 12 oz", "Cola|Lemonade|Ginger Ale|Sparkling Water"),
    ("Grocery", "Coffee and tea", 4, 18, "8 oz|12 oz|2 lb", "Ground Coffee|Espresso Beans|Green Tea|Black Tea"),
    ("Grocery", "Frozen food", 3, 12, "10 oz|16 oz|32 oz", "Pizza|Vegetable Mix|Ice Cream|Fish Fillets"),
    ("Dairy", "Milk", 2, 6, "1 qt|half gallon|1 gallon", "Whole Milk|Skimmed Milk|Oat Drink"),
    ("Dairy", "Cheese", 3, 14, "8 oz|12 oz|16 oz", "Cheddar|Mozzarella|Gouda|Feta"),
    ("Dairy", "Yogurt and eggs", 1, 8, "6 oz|32 oz|dozen", "Plain Yogurt|Berry Yogurt|Free-range Eggs"),
    ("Produce", "Fruit", 1, 8, "each|1 lb|3 lb bag", "Apples|Bananas|Oranges|Grapes|Strawberries"),
    ("Produce", "Vegetables", 1, 6, "each|1 lb|2 lb bag", "Carrots|Broccoli|Potatoes|Onions|Salad Mix"),
    ("Bakery", "Bread", 2, 7, "14 oz|20 oz|24 oz", "Sourdough Loaf|Rye Bread|Baguette|Bagels"),
    ("Bakery", "Pastry", 2, 12, "4 pack|6 pack|each", "Croissants|Muffins|Cinnamon Rolls|Cheesecake"),
    ("Meat and seafood", "Meat", 5, 28, "1 lb|2 lb|family pack", "Ground Beef|Chicken Breast|Pork Chops|Bacon"),
    ("Meat and seafood", "Seafood", 7, 35, "8 oz|12 oz|1 lb", "Salmon Fillet|Shrimp|Cod|Crab Cakes"),
    ("Household", "Cleaning", 2, 16, "16 oz|32 oz|1 gallon", "Dish Soap|Laundry Detergent|Glass Cleaner"),
    ("Household", "Paper goods", 3, 24, "6 rolls|12 rolls|24 rolls", "Paper Towels|Bath Tissue|Napkins"),
    ("Household", "Kitchenware", 6, 90, "each|set of 2|set of 4", "Frying Pan|Mug|Chef Knife|Storage Box"),
    ("Health and beauty", "Personal care", 2, 20, "6 oz|12 oz|20 oz", "Shampoo|Body Wash|Toothpaste|Hand Cream"),
    ("Health and beauty", "Vitamins", 6, 40, "60 ct|90 ct|180 ct", "Vitamin C|Multivitamin|Fish Oil"),
    ("Baby", "Baby care", 4, 45, "40 ct|80 ct|120 ct", "Diapers|Baby Wipes|Infant Formula"),
    ("Pet", "Pet food", 3, 60, "3 lb|15 lb|30 lb", "Dog Food|Cat Food|Bird Seed|Cat Litter"),
    ("Garden", "Plants and garden", 3, 70, "each|8 qt|2 cu ft", "Basil Plant|Potting Soil|Tulip Bulbs|Watering Can"),
    ("Electronics", "Small electronics", 9, 280, "each", "Headphones|Phone Charger|Desk Lamp|Batteries|Speaker"),
)

DEVICE_MODELS = ("Sensoria T2", "Sensoria T4 Pro", "Klimatek 100", "Klimatek 250")
